/** Exit codes by error code. The CLI sees the daemon through the SDK alone, so it has its own copy; its type is the registry's, so it cannot differ. */
import type { ERRORS } from '../../protocol/errors.ts'

type Registry = typeof ERRORS

export const EXIT: { readonly [Code in keyof Registry]: Registry[Code]['exit'] } = {
  E_BAD_REQUEST: 64,
  E_UNAUTHENTICATED: 77,
  E_FORBIDDEN: 77,
  E_NOT_FOUND: 66,
  E_CONFLICT: 65,
  E_TOO_LARGE: 65,
  E_SLOW: 75,
  E_MEDIA_TYPE: 65,
  E_MISDIRECTED: 77,
  E_KEY_REUSED: 65,
  E_RATE_LIMITED: 75,
  E_SYNTAX: 1,
  E_IMPORT: 1,
  E_GUEST: 1,
  E_RESULT: 1,
  E_NETWORK_CLOSED: 1,
  E_HOST_CALL: 1,
  E_DEADLINE: 2,
  E_CPU: 2,
  E_MEMORY: 2,
  E_OUTPUT: 2,
  E_LOG_BUDGET: 2,
  E_CALL_BUDGET: 2,
  E_NO_ENGINE: 69,
  E_ENGINE: 70,
  E_ENGINE_LOST: 75,
  E_SANDBOX_LOST: 75,
  E_IMAGE: 65,
  E_PIDS: 2,
  E_DISK: 2,
  E_SYMLINK: 65,
  E_LANGUAGE: 69,
  E_GUEST_FEATURE: 69,
  E_EGRESS: 69,
  E_CANCELED: 130,
  E_EXECUTOR_LOST: 75,
  E_CALLER_GONE: 75,
  E_NO_CANDIDATE: 69,
  E_OVERLOADED: 75,
  E_GRADE: 69,
  E_HOPS: 65,
  E_STALE_LEASE: 65,
  E_REPLAYED: 65,
  E_UNREACHABLE: 69,
  E_TIMEOUT: 75,
  E_PROTOCOL: 76,
  E_VERSION: 76,
  E_SYNCING: 75,
  E_NOT_MEMBER: 77,
  E_REVOKED: 77,
  E_INVITE: 77,
  E_LIST: 65,
  E_SIGNATURE: 65,
  E_REF_CONFLICT: 65,
  E_FROZEN: 65,
  E_QUOTA: 65,
  E_OBJECT: 65,
  E_NO_ARTIFACTS: 69,
  E_REVIEW: 65,
  E_CONFIG: 78,
  E_INSECURE_FILE: 78,
  E_IDENTITY: 78,
  E_WIDE_BIND: 78,
  E_NOT_RUNNING: 69,
  E_ALREADY_RUNNING: 65,
  E_UNPROVEN: 77,
  E_STOPPING: 75,
  E_STORAGE: 74,
  E_JOURNAL_GAP: 74,
  E_JOURNAL_LOST: 74,
  E_JOURNAL_ROLLBACK: 74,
  E_JOURNAL_VERSION: 78,
  E_JOURNAL_LOCKED: 65,
  E_GIT_MISSING: 69,
  E_INTERNAL: 70,
}

/** Whether a text is a code of the registry. */
export function isCode(text: string): text is keyof Registry {
  return Object.hasOwn(EXIT, text)
}

/** Ended by Ctrl-C: 128 + SIGINT. */
export const EXIT_INTERRUPTED = 130
/** Nobody reads the output any more: 128 + SIGPIPE. */
export const EXIT_UNREAD = 141

/** A newer daemon may name a code that is not listed: 70, "internal". */
export function exitOf(code: string): number {
  return Object.entries(EXIT).find(([known]) => known === code)?.[1] ?? 70
}
