/** Bounds on what a daemon may make the SDK hold or wait for. Bytes unless the name says otherwise. */
export const LIMITS = {
  /** Body of one JSON answer: a page of map results, or an output at the largest limit. */
  answerBytes: 64 << 20,
  /** A challenge, before anything is proven. */
  challengeBytes: 4 << 10,
  /** One event of a stream; the last event of a task carries its output. */
  eventBytes: 64 << 20,
  /** One line of an operation on a sandbox or an image that tells lines; characters. */
  lineChars: 1 << 20,
  /** Output of a command or of code in a sandbox that is collected. */
  collectedBytes: 16 << 20,
  /** Silence of an event stream after which it is opened again, milliseconds. */
  streamSilenceMs: 60_000,
  /** Time for a request that does not wait for work, milliseconds. */
  requestMs: 30_000,
  /** Time for a connection to open and prove itself, milliseconds. */
  connectMs: 10_000,
  /** While an answer waits for work: how often the daemon is asked for a sign of life, milliseconds. */
  aliveMs: 20_000,
  /** After losing the daemon: how long a request that may be repeated is tried again, milliseconds. */
  reconnectMs: 15_000,
  /** How long a call whose signal has aborted waits until its task is canceled, milliseconds. */
  cancelMs: 2000,
  /** Requests waiting for the end of a task, or for what else may take minutes, at once; further ones queue in the SDK. */
  waitingRequests: 256,
  /** Other requests at once. */
  shortRequests: 32,
  /** Event streams at once. */
  streams: 96,
  /** Requests queued in the SDK for one of the above. */
  queuedRequests: 65_536,
  /** Connections kept open without a request. */
  idleConnections: 16,
  /** Calls of sessions without an answer yet: as many as the daemon takes on one connection. */
  sessionCalls: 16_384,
  /** Bytes written to a duplex that the daemon has not taken yet. */
  duplexQueueBytes: 64 << 20,
  /** Runs without host functions on the duplex at once, and characters of one; others are requests. The daemon takes 256 channels. */
  duplexRuns: 64,
  duplexRunBytes: 256 << 10,
  /** Silence after which the duplex is asked for a sign of life, and twice which it counts as lost, milliseconds. */
  duplexSilenceMs: 20_000,
  /** Host functions of one task that run at once. */
  hostCalls: 1024,
  /** Characters of the message of a failed host function; what is longer is cut. The daemon keeps as many bytes. */
  hostErrorChars: 16 << 10,
  /** Body of one map request; larger maps travel as several. The daemon takes 32 MiB. */
  mapBodyBytes: 16 << 20,
  /** Inputs in one map request. */
  mapInputs: 100_000,
  /** Results asked for at once. */
  resultsPage: 512,
  /** Source files that are read to be sent. */
  programBytes: 4 << 20,
  tokenBytes: 4 << 10,
} as const
