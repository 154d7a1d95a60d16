/** How long the event loop of the daemon is held up: the one number that tells whether something blocks. */
import { monitorEventLoopDelay } from 'node:perf_hooks'

export interface LoopDelay {
  /** Milliseconds, since the last read */
  readonly p50: number
  readonly p99: number
  readonly max: number
}

export interface EventLoopMonitor {
  /** The delays since the last read; begins anew. */
  read(): LoopDelay
  close(): void
}

const NANOSECONDS = 1e6
/** Each sample wakes an idle daemon, which shall use next to nothing: five a second still show what happens again and again. */
const RESOLUTION_MS = 200

export function watchEventLoop(): EventLoopMonitor {
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  histogram.enable()
  return {
    read() {
      // The histogram holds the whole interval between samples; what is above the resolution is delay
      const over = (nanoseconds: number): number => Math.max(0, nanoseconds / NANOSECONDS - RESOLUTION_MS)
      const delay =
        histogram.count === 0
          ? { p50: 0, p99: 0, max: 0 }
          : { p50: over(histogram.percentile(50)), p99: over(histogram.percentile(99)), max: over(histogram.max) }
      histogram.reset()
      return delay
    },
    close: () => void histogram.disable(),
  }
}
