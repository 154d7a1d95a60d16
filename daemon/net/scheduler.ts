/** Time as the network sees it, so that a simulator can own it. Milliseconds; only differences mean anything. */
export interface Scheduler {
  now(): number
  /** Calls `run` once after `ms`; the returned function cancels. Never keeps the process alive. */
  after(ms: number, run: () => void): () => void
  /** Calls `run` after the work at hand, before any I/O: what was said meanwhile can leave in one write. */
  soon(run: () => void): void
}

export const realScheduler: Scheduler = {
  now: () => performance.now(),
  after: (ms, run) => {
    const timer = setTimeout(run, ms)
    timer.unref()
    return () => clearTimeout(timer)
  },
  soon: (run) => process.nextTick(run),
}
