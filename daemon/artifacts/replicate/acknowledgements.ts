import { covers } from '../../../protocol/artifact/heads.ts'
import type { Holding } from '../../../protocol/artifact/holding.ts'
import { MeshError } from '../../../protocol/errors.ts'

export interface Acknowledgement {
  readonly artifact: string
  readonly writer: string
  readonly sequence: number
  /** Other nodes that must hold it */
  readonly copies: number
  /** @default 10,000 */
  readonly timeoutMs?: number
}

interface Waiting {
  readonly wanted: Acknowledgement
  readonly holders: Set<string>
  readonly end: (outcome: readonly string[] | Error) => void
}

/** Those who wait until others hold a record. */
export class Acknowledgements {
  readonly #waiting = new Map<string, Set<Waiting>>()

  /** @throws MeshError E_TIMEOUT; the reason of `signal` */
  wait(wanted: Acknowledgement, signal?: AbortSignal): Promise<readonly string[]> {
    if (wanted.copies <= 0) return Promise.resolve([])
    if (signal?.aborted === true) return Promise.reject(signal.reason)
    return new Promise((resolve, reject) => {
      const onAbort = (): void => waiting.end(signal?.reason instanceof Error ? signal.reason : new Error('aborted'))
      const { copies, timeoutMs = 10_000 } = wanted
      const timer = setTimeout(() => {
        const message = `Waiting for copies: ${waiting.holders.size} of ${copies} nodes held it in time`
        waiting.end(new MeshError('E_TIMEOUT', message))
      }, timeoutMs)
      const waiting: Waiting = {
        wanted,
        holders: new Set(),
        end: (outcome) => {
          clearTimeout(timer)
          signal?.removeEventListener('abort', onAbort)
          this.#remove(waiting)
          if (outcome instanceof Error) reject(outcome)
          else resolve(outcome)
        },
      }
      signal?.addEventListener('abort', onAbort, { once: true })
      this.#waiting.set(wanted.artifact, (this.#waiting.get(wanted.artifact) ?? new Set()).add(waiting))
    })
  }

  heard({ artifact, holder, heads }: Holding): void {
    for (const waiting of [...(this.#waiting.get(artifact) ?? [])]) {
      const { writer, sequence, copies } = waiting.wanted
      if (!covers(heads, writer, sequence)) continue
      waiting.holders.add(holder)
      if (waiting.holders.size >= copies) waiting.end([...waiting.holders])
    }
  }

  close(reason: Error): void {
    for (const all of [...this.#waiting.values()]) for (const waiting of [...all]) waiting.end(reason)
  }

  #remove(waiting: Waiting): void {
    const { artifact } = waiting.wanted
    const all = this.#waiting.get(artifact)
    all?.delete(waiting)
    if (all?.size === 0) this.#waiting.delete(artifact)
  }
}
