/**
 * What the daemon and the helper in a sandbox say to each other over the container's standard input and output, little endian:
 *
 *     offset  size  field
 *          0     4  length   bytes of the body, at most LIMITS.guestFrameBytes
 *          4     4  channel  number given by the daemon, never used twice in a guest's life; 0 for none
 *          8     1  type     `TO_GUEST`, `FROM_GUEST`
 *          9     1  flag     as the type defines
 *         10     2  zero
 *         12     n  body
 *
 * **A conversation** begins when the daemon sends the token the helper was started with (32 characters, outside any frame) and the helper answers
 * with the token and HELLO. Whatever stood in the pipes before, a frame cut in two by a daemon that died for example, is dropped by both; the helper
 * ends everything of the earlier conversation but its background processes. Only then frames count.
 *
 * **A channel** is opened by EXEC, FILE, DIAL, LISTEN, ACCEPT, ATTACH, JOBS or KILL_ALL. The helper may answer OPENED once, then any number of OUT, and ends the
 * channel with exactly one END. CLOSE asks it to end now (its process is killed); the END still comes.
 *
 * **Credit**: OUT bytes need credit that the opening frame and CREDIT give; DATA bytes need credit that HELLO states for each channel and GIVE
 * returns. So neither side ever holds more than a window of a stream.
 *
 * **Listening**: LISTEN opens a channel for a port of the guest's loopback; each ACCEPT opens one for the next connection to it, and is OPENED when that
 * came. Connections for which no ACCEPT waits stay in the kernel's queue. With the channel of the LISTEN end those of ACCEPTs that wait.
 *
 * **Moving**: the engine's streams pass several processes on their way. Where a socket of the daemon can be bound into the container, MOVE takes the
 * conversation there, straight between daemon and helper. When that socket ends, or anything comes on standard input, the helper is back there.
 *
 * The daemon takes any frame that breaks these rules as the end of the conversation: what runs inside may have taken the helper's place.
 */

export const HELPER_VERSION = 2
export const HEADER_BYTES = 12

export const TO_GUEST = {
  /** flag: EXEC_FLAGS. body: u32 credit, u16 columns, u16 rows, u16 arguments, u16 variables, then texts ending in 0: name, cwd, arguments, NAME=value */
  exec: 1,
  /** flag 1: these are the last. body: bytes */
  data: 2,
  /** body: u32 bytes */
  credit: 3,
  /** flag: signal number, to the process group */
  signal: 4,
  /** body: u16 columns, u16 rows */
  resize: 5,
  /** flag: signal number, to the process and all its descendants */
  tree: 6,
  close: 7,
  /** flag: FILE_OPS, plus 128 when the content of a write follows in the body. body: u32 credit, u32 mode, u64 offset, path 0, [second path 0] [content] */
  file: 8,
  /** body: u32 credit, u16 port */
  dial: 9,
  /** answered by OUT frames, one for each background process */
  jobs: 10,
  /** body: u32 credit, u32 the process's channel */
  attach: 11,
  killAll: 12,
  /** answered by PONG */
  ping: 13,
  /** body: path of a unix socket in the guest, 0. The conversation begins anew there; END (failed) when it cannot be reached, and all stays here */
  move: 14,
  /** body: u16 port */
  listen: 15,
  /** body: u32 credit, u32 the channel that listens */
  accept: 16,
} as const

export const FROM_GUEST = {
  /** body: u16 version, u16 channels, u32 credit for DATA, u32 last channel used, u32 process id */
  hello: 64,
  /** flag: 1 or 2, the descriptor; OUT_OVER: nothing more can be read (sockets). body: bytes */
  out: 65,
  /** body: u32 process id, or a stat for FILE read and stat */
  opened: 66,
  /** flag: END_HOW. body: u32 exit code, signal number or errno */
  end: 67,
  /** body: u32 bytes */
  give: 68,
  pong: 69,
} as const

export const EXEC_FLAGS = { pty: 1, background: 2, input: 4 } as const
export const FILE_OPS = {
  read: 1,
  write: 2,
  stat: 3,
  list: 4,
  mkdir: 5,
  move: 6,
  remove: 7,
  removeAll: 8,
  watch: 9,
} as const
export const INLINE_CONTENT = 128
export const OUT_OVER = 128
export const END_HOW = { exit: 0, signal: 1, done: 2, failed: 3, full: 4, notStarted: 5 } as const

export interface Frame {
  readonly channel: number
  readonly type: number
  readonly flag: number
  /** A view into the received bytes: copy what is kept for long */
  readonly body: Buffer
}

/** The guest broke the format or the rules of the conversation. */
export class GuestProtocolError extends Error {
  override readonly name = 'GuestProtocolError'
}

/** Bodies from here on are not copied behind their header */
const APART_BYTES = 4096

/** The frame in one part, or in two, of which the second is the body itself. */
export function frameParts(type: number, channel: number, flag: number, body: Uint8Array | undefined): Uint8Array[] {
  const length = body?.length ?? 0
  const apart = length >= APART_BYTES
  const frame = Buffer.allocUnsafe(apart ? HEADER_BYTES : HEADER_BYTES + length)
  frame.writeUInt32LE(length, 0)
  frame.writeUInt32LE(channel, 4)
  frame.writeUInt32LE(type | (flag << 8), 8)
  if (body === undefined) return [frame]
  if (apart) return [frame, body]
  frame.set(body, HEADER_BYTES)
  return [frame]
}

export function u32(...values: readonly number[]): Buffer {
  const bytes = Buffer.allocUnsafe(4 * values.length)
  values.forEach((value, index) => bytes.writeUInt32LE(value, 4 * index))
  return bytes
}
