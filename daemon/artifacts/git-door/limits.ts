/** Bounds of the Git door. Those an operator may want to move are given when it is made; bytes unless the name says otherwise. */
export interface DoorLimits {
  /** Clones and fetches served at once; more wait */
  readonly uploads: number
  /** Pushes taken at once; more wait */
  readonly pushes: number
  /** Requests that may wait for their turn, of each kind */
  readonly waiting: number
  /** Longest wait for a turn, milliseconds */
  readonly waitMs: number
  /** Longest clone, fetch or push, milliseconds */
  readonly wallMs: number
  /** A client that takes or sends less than `stallBytes` in this time is cut off, milliseconds */
  readonly stallMs: number
  readonly stallBytes: number
  /** One pack as it comes in; the artifact's room may be less */
  readonly packBytes: number
  /** Objects of one pack */
  readonly objects: number
  /** One blob, unpacked */
  readonly blobBytes: number
  /** One tree, unpacked: about 200,000 entries */
  readonly treeBytes: number
  /** One commit or tag, unpacked */
  readonly commitBytes: number
  /** The longest path of a file, and the most folders in it */
  readonly pathBytes: number
  readonly pathDepth: number
  /** One LFS object; an artifact's quota bounds all of them */
  readonly lfsObjectBytes: number
}

export const DOOR_LIMITS: DoorLimits = {
  uploads: 8,
  pushes: 4,
  waiting: 64,
  waitMs: 30_000,
  wallMs: 3_600_000,
  stallMs: 30_000,
  stallBytes: 16 << 10,
  packBytes: 2 * 1024 ** 3,
  objects: 2_000_000,
  blobBytes: 512 << 20,
  treeBytes: 8 << 20,
  commitBytes: 1 << 20,
  pathBytes: 4_096,
  pathDepth: 256,
  lfsObjectBytes: 4 * 1024 ** 3,
}

/** What no operator needs to move. */
export const FIXED = {
  /** Body of a fetch request, unpacked: a partial clone asks for many blobs by name, 50 bytes each */
  fetchBytes: 16 << 20,
  wants: 100_000,
  haves: 100_000,
  /** Commands of a push: a writer has at most 1,024 refs */
  commands: 2_048,
  /** All commands with their names and options */
  commandBytes: 1 << 20,
  pushOptions: 64,
  pushOptionBytes: 1_024,
  /** Of a pack that is refused, how much is still read so that the client hears why */
  drainBytes: 64 << 20,
  drainMs: 30_000,
  /** An answer that takes longer says that it lives, milliseconds */
  keepAliveMs: 5_000,
  /** Body of an LFS batch request, and objects in it */
  lfsBatchBytes: 1 << 20,
  lfsBatchObjects: 1_000,
} as const
