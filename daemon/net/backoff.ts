/** Exponential back-off with jitter: the n-th wait (from 0) is uniform in [half, whole] of `baseMs * 2^n`, at most `maxMs`. */
export function backoffMs(attempt: number, baseMs: number, maxMs: number, random: () => number = Math.random): number {
  const whole = Math.min(maxMs, baseMs * 2 ** Math.min(attempt, 30))
  return whole * (0.5 + random() / 2)
}
