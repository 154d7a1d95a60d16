/** Names of artifacts on this node: each is given once, also to those who ask at the same time. */
import { MeshError } from '../../../protocol/errors.ts'
import type { Catalog } from './catalog.ts'

export class Names {
  readonly #catalog: Catalog
  /** Those that are being given out */
  readonly #giving = new Set<string>()

  constructor(catalog: Catalog) {
    this.#catalog = catalog
  }

  /** Holds a name while `work` makes it somebody's. @throws MeshError E_CONFLICT */
  async during<T>(name: string, work: () => Promise<T>): Promise<T> {
    if (this.#giving.has(name) || this.#catalog.idOf(name) !== undefined) {
      throw new MeshError('E_CONFLICT', `Cannot name an artifact '${name}': another one here has that name`, {
        hint: 'Take another name, or remove that one first: manyhands artifact rm',
      })
    }
    this.#giving.add(name)
    try {
      return await work()
    } finally {
      this.#giving.delete(name)
    }
  }

  /** Holds the names that `work` asks for, until it has made them somebody's: the owner's name where it is free here, else one with the id's beginning. */
  async duringFree<T>(work: (free: (name: string, id: string) => string) => Promise<T>): Promise<T> {
    const held: string[] = []
    const free = (name: string, id: string): string => {
      const holder = this.#catalog.idOf(name)
      if (holder === id) return name
      if (holder !== undefined || this.#giving.has(name)) return `${name.slice(0, 48)}-${id.slice(1, 13)}`
      this.#giving.add(name)
      held.push(name)
      return name
    }
    try {
      return await work(free)
    } finally {
      for (const name of held) this.#giving.delete(name)
    }
  }
}
