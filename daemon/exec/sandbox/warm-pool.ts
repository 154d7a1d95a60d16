/**
 * Started sandboxes that nobody owns yet, of the kinds that were asked for last. Each is given away once and never comes back. What is ready when the
 * daemon ends, or is lost with it, has no row in the journal and is removed as an orphan.
 */
import type { Awake, Made } from './container-host.ts'
import { type Recipe, recipeKey } from './recipe.ts'

export interface Prepared {
  readonly made: Made
  readonly awake: Awake
}

export interface WarmPoolOptions {
  /** Ready ones of a kind */
  readonly each: number
  readonly kinds: number
  /** Quiet time before a refill begins, milliseconds: the caller's own work goes first */
  readonly settleMs: number
  make(recipe: Recipe): Promise<Prepared>
  discard(made: Made): Promise<void>
  trouble(error: unknown): void
}

interface Kind {
  readonly recipe: Recipe
  readonly ready: Prepared[]
  /** No more could be made; asked for again, it is tried again */
  failed: boolean
}

export class WarmPool {
  readonly #options: WarmPoolOptions
  /** Last used last */
  readonly #kinds = new Map<string, Kind>()
  #timer: NodeJS.Timeout | undefined
  #filling: Promise<void> | undefined
  #closed = false

  constructor(options: WarmPoolOptions) {
    this.#options = options
  }

  /** One of the kind, if there is one ready; from now on the kind is kept ready. */
  take(recipe: Recipe): Prepared | undefined {
    const prepared = this.#kindOf(recipe)?.ready.shift()
    this.#soon()
    return prepared
  }

  /** Resolves when as many as configured are ready. */
  async warm(recipe: Recipe): Promise<void> {
    this.#kindOf(recipe)
    await this.#fill()
  }

  /** Ids of sandboxes that are ready. */
  ids(): ReadonlySet<string> {
    return new Set([...this.#kinds.values()].flatMap(({ ready }) => ready.map(({ made }) => made.id)))
  }

  /** The container of one that was ready ended. */
  died(container: string): void {
    for (const { ready } of this.#kinds.values()) {
      const at = ready.findIndex(({ made }) => made.container === container)
      const [dead] = at < 0 ? [] : ready.splice(at, 1)
      if (dead) void this.#discard(dead)
    }
    this.#soon()
  }

  /** The engine is gone, with all that was ready. */
  forget(): void {
    for (const { ready } of this.#kinds.values()) for (const { awake } of ready.splice(0)) awake.guest.close()
  }

  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#timer)
    await this.#filling
    const all = [...this.#kinds.values()].flatMap(({ ready }) => ready.splice(0))
    this.#kinds.clear()
    await Promise.all(all.map((prepared) => this.#discard(prepared)))
  }

  #kindOf(recipe: Recipe): Kind | undefined {
    if (this.#options.each === 0 || this.#options.kinds === 0 || this.#closed) return undefined
    const key = recipeKey(recipe)
    const kind = this.#kinds.get(key) ?? { recipe, ready: [], failed: false }
    kind.failed = false
    this.#kinds.delete(key)
    this.#kinds.set(key, kind)
    for (const [old, { ready }] of this.#kinds) {
      if (this.#kinds.size <= this.#options.kinds) break
      this.#kinds.delete(old)
      for (const prepared of ready) void this.#discard(prepared)
    }
    return kind
  }

  #soon(): void {
    if (this.#closed) return
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => void this.#fill(), this.#options.settleMs)
    this.#timer.unref()
  }

  /** One after the other, the kind used last first. */
  #fill(): Promise<void> {
    this.#filling ??= this.#fillAll().finally(() => {
      this.#filling = undefined
    })
    return this.#filling
  }

  async #fillAll(): Promise<void> {
    for (let kind = this.#lacking(); kind && !this.#closed; kind = this.#lacking()) {
      try {
        const prepared = await this.#options.make(kind.recipe)
        if (this.#closed || this.#kinds.get(recipeKey(kind.recipe)) !== kind) await this.#discard(prepared)
        else kind.ready.push(prepared)
      } catch (error) {
        kind.failed = true
        const key = recipeKey(kind.recipe)
        if (kind.ready.length === 0 && this.#kinds.get(key) === kind) this.#kinds.delete(key)
        this.#options.trouble(error)
      }
    }
  }

  #lacking(): Kind | undefined {
    return [...this.#kinds.values()].reverse().find(({ ready, failed }) => !failed && ready.length < this.#options.each)
  }

  async #discard({ made, awake }: Prepared): Promise<void> {
    awake.guest.close()
    await this.#options.discard(made).catch((error: unknown) => this.#options.trouble(error))
  }
}
