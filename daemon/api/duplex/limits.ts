/** Bounds of one duplex connection. Bytes unless the name says otherwise. */
export const DUPLEX_LIMITS = {
  /** Open channels */
  channels: 256,
  /** Calls of sessions without an answer: many times what keeps every core of a mesh busy */
  openCalls: 16_384,
  /** Inputs of those calls */
  openCallBytes: 64 << 20,
  /** Host calls without an answer; the guest's own limit counts them over its life, this one at once */
  openHostCalls: 4_096,
  /** Unsent beyond this: nothing more is read from the client until it takes what is there */
  pauseBytes: 1 << 20,
  /** Unsent beyond this: log lines are left out */
  logBytes: 4 << 20,
  /** Unsent beyond this: data of operations waits, however much each may have on the way */
  dataBytes: 32 << 20,
  /** Unsent beyond this: results of calls and host calls are refused one by one, and the ends of tasks wait. Room for a few frames of the largest size. */
  answerBytes: 44 << 20,
  /** Unsent beyond this: the client is cut off */
  queueBytes: 64 << 20,
} as const
