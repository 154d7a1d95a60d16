/** One line on stderr that is drawn again on a terminal; elsewhere a line now and then, if at all. */
import type { MapProgress } from '../../sdk/src/index.ts'
import type { Io } from './io.ts'
import { nameOf, type NodeNames } from './node-names.ts'
import { fit, safeLine } from './terminal.ts'

const REDRAW_MS = 100

export class ProgressLine {
  readonly #io: Io
  readonly #everyMs: number
  #drawnAt = -Infinity
  #shown = false

  /** @param everyMs where there is no terminal: at most a line in so many milliseconds; none without it */
  constructor(io: Io, everyMs?: number) {
    this.#io = io
    this.#everyMs = io.interactive ? REDRAW_MS : (everyMs ?? Infinity)
  }

  /** Drops what comes faster than it can be read. */
  show(text: string): void {
    const now = performance.now()
    if (this.#everyMs === Infinity || now - this.#drawnAt < this.#everyMs) return
    this.#drawnAt = now
    if (!this.#io.interactive) return this.#io.writeErr(`${text}\n`)
    this.#shown = true
    this.#io.writeErr(`\r\u001b[2K${fit(text, (this.#io.columns ?? 80) - 1)}`)
  }

  /** Makes room for other text. */
  clear(): void {
    if (this.#shown) this.#io.writeErr('\r\u001b[2K')
    this.#shown = false
  }
}

/** "1,200/5,000  24%  3 failed  a:700 b:500" */
export function progressText(progress: MapProgress, names: NodeNames): string {
  const { done, total, failed, retried, byNode } = progress
  const percent = total === 0 ? 0 : Math.floor((done / total) * 100)
  const nodes = Object.entries(byNode)
    .sort(([, a], [, b]) => b - a)
    .map(([id, count]) => `${safeLine(nameOf(names, id))}:${count.toLocaleString('en')}`)
  return [
    `${done.toLocaleString('en')}/${total.toLocaleString('en')}`,
    `${percent}%`,
    ...(failed > 0 ? [`${failed} failed`] : []),
    ...(retried > 0 ? [`${retried} retried`] : []),
    nodes.join(' '),
  ].join('  ')
}
