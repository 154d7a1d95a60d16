/** How a command ended, from what its process did, what was asked for and what the kernel counted. Pure. */
import type { EndEvidence, GuestEnd } from './guest-connection.ts'

/** Why the daemon ended a process itself. The first cause counts. */
export type EndCause = 'timeout' | 'output' | 'canceled'

export type ProcessEnd =
  | { readonly kind: 'exit'; readonly code: number }
  | { readonly kind: 'signal'; readonly number: number }

/** Signal numbers of Linux on x86-64 and arm64 (asm-generic/signal.h). */
export const SIGNAL_NUMBERS = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGILL: 4,
  SIGTRAP: 5,
  SIGABRT: 6,
  SIGBUS: 7,
  SIGFPE: 8,
  SIGKILL: 9,
  SIGUSR1: 10,
  SIGSEGV: 11,
  SIGUSR2: 12,
  SIGPIPE: 13,
  SIGALRM: 14,
  SIGTERM: 15,
  SIGCONT: 18,
  SIGSTOP: 19,
  SIGTSTP: 20,
  SIGXCPU: 24,
  SIGXFSZ: 25,
  SIGWINCH: 28,
  SIGSYS: 31,
} as const

function signalName(number: number): string {
  return Object.entries(SIGNAL_NUMBERS).find(([, value]) => value === number)?.[0] ?? `SIG${number}`
}

/** Whether the counters may say something about this end: a clean exit needs no explanation. */
export const needsEvidence = (end: ProcessEnd): boolean => end.kind === 'signal' || end.code !== 0

/** A shell reports a killed child as 128 + 9. */
const KILLED_CODE = 137

export function verdict(
  end: ProcessEnd,
  cause: EndCause | undefined,
  before: EndEvidence | undefined,
  after: EndEvidence | undefined,
): GuestEnd {
  if (cause !== undefined) return { kind: cause }
  const code = end.kind === 'exit' ? { code: end.code } : {}
  if (needsEvidence(end) && before !== undefined && after !== undefined) {
    const killed = end.kind === 'signal' ? end.number === SIGNAL_NUMBERS.SIGKILL : end.code === KILLED_CODE
    if (after.oomKills > before.oomKills && (killed || end.kind === 'exit')) return { kind: 'memory', ...code }
    if (after.pidsRefused > before.pidsRefused) return { kind: 'pids', ...code }
    if (after.diskFull) return { kind: 'disk', ...code }
  }
  return end.kind === 'exit' ? end : { kind: 'signal', signal: signalName(end.number) }
}
