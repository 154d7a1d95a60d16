/**
 * Every bound on what comes from outside, in one place, each with its reason. Bytes unless the name says otherwise.
 * Bounds an operator may want to move are configuration (`daemon/config/schema.ts`); these are the protocol's own.
 */
export const LIMITS = {
  /** One frame of a control stream. Payloads above it travel as several channel messages or on a bulk stream. */
  frameBytes: 1 << 20,
  /** Unread bytes a channel may have in flight: the receiver's credit. Bounds memory per channel. */
  channelWindowBytes: 1 << 20,
  /** Channels one peer may hold open on a connection: the most tasks it can have running here, with room to spare. */
  channelsPerPeer: 256,
  /** Requests of one peer that may wait for an answer at once. */
  requestsPerPeer: 1024,
  /** Bytes queued for one peer that does not read before its connection is closed. */
  peerQueueBytes: 16 << 20,
  /** Default and ceiling for how long a request to a peer may take, milliseconds. */
  requestTimeoutMs: 10_000,

  /** All modules of a program together. */
  programBytes: 4 << 20,
  /** Modules of one program. */
  programModules: 1024,
  /** A module's name. */
  moduleNameBytes: 256,
  /** JSON text of one input. */
  inputBytes: 8 << 20,
  /** Inputs of one batch that travel in one bind. */
  batchInputs: 1024,
  /** Results of one batch together: they travel in one message and are one row of the journal, which takes 16 MiB. */
  batchResultBytes: 15 << 20,
  /** Inputs of one map. */
  mapInputs: 1_000_000,
  /** Programs and inputs of one peer that are on their way here or taken: it may have many tasks here at once, but not all of the largest size. */
  peerWorkBytes: 256 << 20,
  /** Nesting of JSON from outside: V8's own parser and ours stay far from their stacks. */
  jsonDepth: 128,
  /** Body of a local API request other than a program upload. */
  apiBodyBytes: 32 << 20,
  /** Host functions a caller may offer to one task. */
  hostFunctions: 256,

  /** Members of a mesh. */
  members: 10_000,
  /**
   * Revocations a member list carries. More than fit in a frame beside an admin, so that the length of the list is what bounds them: revoking takes no room, since a
   * revocation is shorter than the member it takes out.
   */
  revocations: 20_000,
  /** Addresses in a card or invite. */
  addresses: 16,
  /** Labels in a card. */
  labels: 64,
  /** A card, encoded and signed. */
  cardBytes: 16 << 10,
  /** A member list, encoded and signed: 10,000 members of about 100 bytes. */
  listBytes: 4 << 20,
  /** A node's display name. */
  nameBytes: 64,
  /** Times a task may be passed on. */
  hops: 4,
  /** An idempotency key. */
  keyBytes: 200,
  /** A signed record of an artifact, as text: all refs of a writer (at most 1,024) and as many moves, in base64. */
  artifactRecordBytes: 512 << 10,
  /** A node's signed statement of what it holds of an artifact: some 150 bytes for each of its writers, in base64. */
  artifactHoldingBytes: 256 << 10,

  /** One log line of a guest; the rest of the line is cut. */
  logLineBytes: 16 << 10,

  /** A ref's name, and anything that names a commit. */
  refBytes: 255,
  /** A path inside an artifact; what file systems commonly take. */
  pathBytes: 4096,
  /** A commit's message, a comment, a note. */
  messageBytes: 64 << 10,
  /** Files changed by one commit of the API; a push has no such bound. */
  commitFiles: 10_000,
  /** Paths of an artifact that one task takes as its input. */
  inputPaths: 256,
  /** Files handed to one task: its input as a whole is bound by `inputBytes`. */
  inputFiles: 10_000,
  /** Nodes that shall hold one artifact. */
  replicas: 64,
  /** Nodes that may read a private artifact. */
  readers: 256,
  /** Nodes whose pushes the owner of an artifact takes over. */
  delegates: 64,

  /** Environment of a sandbox or a command, as JSON. */
  sandboxEnvBytes: 64 << 10,
  /** One argument of a command: what Linux takes. */
  sandboxArgBytes: 128 << 10,
  /** One frame of a sandbox's bulk stream: pieces of data are small, but results with images are not. */
  sandboxFrameBytes: 16 << 20,
  /** A file up to this travels between nodes on a channel: to open a stream for it takes longer than to send it. */
  sandboxSmallBytes: 64 << 10,
  /** Streams one peer may have open here on sandboxes at once: below what the muxer allows. */
  sandboxStreamsPerPeer: 48,
  /** Ops one peer may have running here on sandboxes at once. */
  sandboxOpsPerPeer: 256,
  /** Part of `sandbox.slots` that one other node may have: then no node takes them all. */
  sandboxShare: 0.5,
  /** Sandboxes this node may have on other nodes. */
  sandboxesAway: 10_000,

  /** Body of one frame between the daemon and the agent in a sandbox, both ways; the agent holds two. */
  guestFrameBytes: 256 << 10,
  /** Bytes a sandbox may have sent on one stream that nobody has read yet. */
  guestWindowBytes: 1 << 20,
  /** Commands, file operations and connections of one sandbox at once; the agent has room for 256. */
  guestChannels: 192,
  /** Output kept of a background process: what the agent has room for. */
  guestKeptBytes: 256 << 10,
  /** How long a process has between being asked to end and being killed, milliseconds. */
  guestGraceMs: 2000,
  /** A file read into memory, unless the caller allows more. */
  guestFileBytes: 64 << 20,
  /** Entries of a folder of a sandbox. */
  guestEntries: 100_000,
  /** Arguments and environment of a command together. */
  guestArgBytes: 128 << 10,
  /** Code for an interpreter in a sandbox. */
  guestCodeBytes: 1 << 20,
  /** Results of one call of an interpreter, images among them. */
  guestResultBytes: 16 << 20,
  /** A path in a sandbox. */
  guestPathBytes: 4095,
} as const
