import { MeshError } from '../../../protocol/errors.ts'

/** Of this node's own work it bears so many times `idleMs` without a sign of life: Git checks a large pack for minutes and says nothing. */
const OWN_PERIODS = 30
/** Over so many times `idleMs` a peer moves at least `LEAST_BYTES`, 109 a second by default: a trickle would hold a place for ever. */
const PACE_PERIODS = 20
const LEAST_BYTES = 64 << 10

/**
 * Ends something in which nothing moves, or too little: its signal aborts with E_TIMEOUT `idleMs` after the last `moved`, or when too few bytes moved over a longer
 * time, and with the reason of `signal`.
 */
export class Watchdog {
  readonly signal: AbortSignal
  readonly #what: string
  readonly #idleMs: number
  readonly #controller = new AbortController()
  readonly #timer: NodeJS.Timeout
  #isOwn = false
  #moved = false
  #silent = 0
  #periods = 0
  #bytes = 0

  constructor(what: string, idleMs: number, signal?: AbortSignal) {
    this.signal = signal === undefined ? this.#controller.signal : AbortSignal.any([signal, this.#controller.signal])
    this.#what = what
    this.#idleMs = idleMs
    this.#timer = setInterval(() => this.#look(), idleMs)
    this.#timer.unref()
  }

  moved(bytes: number): void {
    this.#moved = true
    this.#bytes += bytes
  }

  /** The peer has done its part, and nothing more is to come from it. */
  ownWork(): void {
    this.#isOwn = true
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  #look(): void {
    this.#silent = this.#moved ? 0 : this.#silent + 1
    this.#moved = false
    if (this.#silent >= (this.#isOwn ? OWN_PERIODS : 1))
      this.#end(`nothing moved for ${this.#silent * this.#idleMs} ms`)
    if (this.#isOwn || ++this.#periods < PACE_PERIODS) return
    if (this.#bytes < LEAST_BYTES) this.#end(`${this.#bytes} bytes moved in ${this.#periods * this.#idleMs} ms`)
    this.#periods = 0
    this.#bytes = 0
  }

  #end(why: string): void {
    this.#controller.abort(new MeshError('E_TIMEOUT', `${this.#what}: ${why}`))
  }
}
