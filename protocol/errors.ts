/**
 * The error registry: every failure a user, a program or a peer can see has a code here, and nothing else does.
 * A code fixes the HTTP status, the exit code of the CLI and whether trying the same thing again can help.
 * `docs/ERRORS.md` holds one heading per code; a test keeps the two equal in both directions.
 */

interface ErrorRow {
  /** HTTP status of the local API */
  readonly status: number
  /** Exit code of the CLI; values follow sysexits(3) where one fits */
  readonly exit: number
  /** Whether the same request may succeed later without being changed */
  readonly retry: boolean
  /** One line: what it means */
  readonly title: string
}

export const ERRORS = {
  // the caller
  E_BAD_REQUEST: { status: 400, exit: 64, retry: false, title: 'The request is not valid' },
  E_UNAUTHENTICATED: { status: 401, exit: 77, retry: false, title: 'The token is missing or wrong' },
  E_FORBIDDEN: { status: 403, exit: 77, retry: false, title: 'This caller may not do that' },
  E_NOT_FOUND: { status: 404, exit: 66, retry: false, title: 'There is no such thing' },
  E_CONFLICT: { status: 409, exit: 65, retry: false, title: 'The state does not allow that' },
  E_TOO_LARGE: { status: 413, exit: 65, retry: false, title: 'The request exceeds a size limit' },
  E_SLOW: { status: 408, exit: 75, retry: true, title: 'The request did not arrive in time' },
  E_MEDIA_TYPE: { status: 415, exit: 65, retry: false, title: 'The body is not of the type that is wanted' },
  E_MISDIRECTED: { status: 421, exit: 77, retry: false, title: 'The Host header names another server' },
  E_KEY_REUSED: { status: 422, exit: 65, retry: false, title: 'The idempotency key was used for a different request' },
  E_RATE_LIMITED: { status: 429, exit: 75, retry: true, title: 'Too many requests' },
  // running code
  E_SYNTAX: { status: 422, exit: 1, retry: false, title: 'The program does not parse' },
  E_IMPORT: { status: 422, exit: 1, retry: false, title: 'A module of the program cannot be found or linked' },
  E_GUEST: { status: 422, exit: 1, retry: false, title: 'The program threw an error' },
  E_RESULT: { status: 422, exit: 1, retry: false, title: 'The program returned something that is not JSON' },
  E_NETWORK_CLOSED: {
    status: 422,
    exit: 1,
    retry: false,
    title: 'The program tried to reach the network, which is closed',
  },
  E_HOST_CALL: { status: 422, exit: 1, retry: false, title: 'A host function failed or was called wrongly' },
  E_DEADLINE: { status: 422, exit: 2, retry: false, title: 'The job ran past its wall-clock limit' },
  E_CPU: { status: 422, exit: 2, retry: false, title: 'The job used more CPU time than its limit' },
  E_MEMORY: { status: 422, exit: 2, retry: false, title: 'The job used more memory than its limit' },
  E_OUTPUT: { status: 422, exit: 2, retry: false, title: 'The job returned more bytes than its limit' },
  E_LOG_BUDGET: { status: 422, exit: 2, retry: false, title: 'The job logged more bytes than its limit' },
  E_CALL_BUDGET: {
    status: 422,
    exit: 2,
    retry: false,
    title: 'The job made more host calls, or larger ones, than its limit',
  },
  E_CANCELED: { status: 409, exit: 130, retry: false, title: 'The task was canceled' },
  E_EXECUTOR_LOST: { status: 503, exit: 75, retry: true, title: 'The process that ran the job died' },
  E_CALLER_GONE: { status: 410, exit: 75, retry: false, title: 'The client that serves this task went away' },
  // sandboxes
  E_NO_ENGINE: { status: 503, exit: 69, retry: true, title: 'No container engine is running here' },
  E_ENGINE: { status: 502, exit: 70, retry: true, title: 'The container engine refused or failed' },
  E_ENGINE_LOST: { status: 503, exit: 75, retry: true, title: 'The container engine went away' },
  E_SANDBOX_LOST: { status: 410, exit: 75, retry: true, title: 'The sandbox or its agent ended' },
  E_IMAGE: { status: 422, exit: 65, retry: false, title: 'The image cannot be used' },
  E_PIDS: { status: 422, exit: 2, retry: false, title: 'The sandbox has no process left' },
  E_DISK: { status: 422, exit: 2, retry: false, title: 'The sandbox has no disk space left' },
  E_SYMLINK: { status: 422, exit: 65, retry: false, title: 'A symbolic link is in the way' },
  E_LANGUAGE: { status: 422, exit: 69, retry: false, title: 'The image has no interpreter for that language' },
  E_GUEST_FEATURE: { status: 422, exit: 69, retry: false, title: 'This sandbox cannot do that' },
  // the mesh
  E_NO_CANDIDATE: { status: 503, exit: 69, retry: true, title: 'No node of the mesh can take this task now' },
  E_OVERLOADED: { status: 503, exit: 75, retry: true, title: 'The node has no room for more work now' },
  E_GRADE: { status: 422, exit: 69, retry: false, title: 'The demanded isolation grade is not offered' },
  E_HOPS: { status: 422, exit: 65, retry: false, title: 'The task was passed on too often' },
  E_STALE_LEASE: { status: 409, exit: 65, retry: false, title: 'The lease was given to another node since' },
  E_REPLAYED: { status: 409, exit: 65, retry: false, title: 'This message was used before' },
  E_UNREACHABLE: { status: 503, exit: 69, retry: true, title: 'The peer cannot be reached' },
  E_TIMEOUT: { status: 504, exit: 75, retry: true, title: 'No answer came in time' },
  E_PROTOCOL: { status: 502, exit: 76, retry: false, title: 'A peer sent something that the protocol does not allow' },
  E_VERSION: { status: 426, exit: 76, retry: false, title: 'The two sides speak no common protocol version' },
  E_SYNCING: { status: 503, exit: 75, retry: true, title: 'The node is still learning who belongs to the mesh' },
  E_NOT_MEMBER: { status: 403, exit: 77, retry: false, title: 'That node does not belong to the mesh' },
  E_REVOKED: { status: 403, exit: 77, retry: false, title: 'The node was put out of the mesh' },
  E_INVITE: {
    status: 403,
    exit: 77,
    retry: false,
    title: 'The invite is malformed, used, expired or not meant for this',
  },
  E_LIST: { status: 409, exit: 65, retry: false, title: 'The member list is older, forged or of another mesh' },
  E_SIGNATURE: { status: 422, exit: 65, retry: false, title: 'A signature or hash does not match' },
  // artifacts
  E_OBJECT: {
    status: 422,
    exit: 65,
    retry: false,
    title: 'A Git object or pack is damaged, or breaks a rule or a limit',
  },
  E_REF_CONFLICT: { status: 409, exit: 65, retry: true, title: 'The ref is not where the request expected it' },
  E_FROZEN: { status: 409, exit: 65, retry: false, title: 'A writer signed two different records under one number' },
  E_QUOTA: { status: 507, exit: 65, retry: false, title: 'The quota for artifacts is used up' },
  E_NO_ARTIFACTS: { status: 501, exit: 69, retry: false, title: 'This node offers no artifacts' },
  E_REVIEW: { status: 409, exit: 65, retry: false, title: 'The proposal lacks what its artifact demands' },
  // this node
  E_CONFIG: { status: 500, exit: 78, retry: false, title: 'The configuration is not valid' },
  E_INSECURE_FILE: { status: 500, exit: 78, retry: false, title: 'A private file can be read or changed by others' },
  E_IDENTITY: { status: 500, exit: 78, retry: false, title: 'The identity of this node is missing or damaged' },
  E_WIDE_BIND: { status: 500, exit: 78, retry: false, title: 'The local API must not listen beyond this host' },
  E_NOT_RUNNING: { status: 503, exit: 69, retry: true, title: 'No daemon is running here' },
  E_ALREADY_RUNNING: { status: 409, exit: 65, retry: false, title: 'A daemon is running here already' },
  E_UNPROVEN: { status: 502, exit: 77, retry: false, title: 'What answers is not the daemon that owns the token' },
  E_STOPPING: { status: 503, exit: 75, retry: true, title: 'The daemon is shutting down' },
  E_EGRESS: { status: 503, exit: 69, retry: true, title: 'The door to the outside cannot be opened' },
  E_STORAGE: {
    status: 507,
    exit: 74,
    retry: true,
    title: 'The disk cannot be written, or what it should hold is damaged; nothing that is not stored is acknowledged',
  },
  E_JOURNAL_GAP: { status: 500, exit: 74, retry: false, title: 'Records of the journal are missing or damaged' },
  E_JOURNAL_LOST: { status: 500, exit: 74, retry: false, title: 'The journal of this node is gone' },
  E_JOURNAL_ROLLBACK: {
    status: 500,
    exit: 74,
    retry: false,
    title: 'The journal is older than what was acknowledged from it',
  },
  E_JOURNAL_VERSION: { status: 500, exit: 78, retry: false, title: 'The journal was written by a newer version' },
  E_JOURNAL_LOCKED: { status: 409, exit: 65, retry: true, title: 'Another process uses this journal' },
  E_GIT_MISSING: {
    status: 503,
    exit: 69,
    retry: false,
    title: 'Git is missing here or too old, so this node offers no artifacts',
  },
  E_INTERNAL: { status: 500, exit: 70, retry: false, title: 'Something went wrong inside the daemon' },
} as const satisfies Record<string, ErrorRow>

export type ErrorCode = keyof typeof ERRORS

/** Whether `value` is a code of the registry. */
export function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === 'string' && Object.hasOwn(ERRORS, value)
}

export interface MeshErrorOptions {
  /** What the caller can do about it, one sentence */
  readonly hint?: string
  /** How long to wait before trying again, milliseconds */
  readonly retryAfterMs?: number
  /** Facts for the caller to act on; JSON values; never secrets or host paths */
  readonly details?: Readonly<Record<string, unknown>>
  /** What caused it; logged here, never sent to anyone */
  readonly cause?: unknown
}

/**
 * The one error class of the project. `code` is the contract; `message` is a sentence for people:
 * the action that failed, a colon, what was found and what was wanted.
 */
export class MeshError extends Error {
  override readonly name = 'MeshError'
  readonly code: ErrorCode
  readonly hint: string | undefined
  readonly retryAfterMs: number | undefined
  readonly details: Readonly<Record<string, unknown>> | undefined

  constructor(code: ErrorCode, message: string, options: MeshErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.hint = options.hint
    this.retryAfterMs = options.retryAfterMs
    this.details = options.details
  }
}

/** `error` itself if it is typed, else an `E_INTERNAL` that keeps it as cause and shows nothing of it. */
export function toMeshError(error: unknown): MeshError {
  if (error instanceof MeshError) return error
  if (isOfDisk(error))
    return new MeshError('E_STORAGE', 'Cannot store it: the disk of this node is full or cannot be written', {
      hint: 'Free space there; what was stored before stays, and nothing of this was kept',
      retryAfterMs: 1_000,
      cause: error,
    })
  return new MeshError('E_INTERNAL', 'Something went wrong inside the daemon', { cause: error })
}

/** As a system call fails on a disk without room, or without permission to write. */
function isOfDisk(error: unknown): boolean {
  return error instanceof Error && 'code' in error && ['ENOSPC', 'EDQUOT', 'EROFS'].some((code) => code === error.code)
}
