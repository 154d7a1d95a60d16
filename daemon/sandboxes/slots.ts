/** How many sandboxes other nodes may have here: `sandbox.slots` in all, and of them a share for each node. This node's own user is not bound by either. */
import { MeshError } from '../../protocol/errors.ts'
import { LIMITS } from '../../protocol/limits.ts'

export interface SlotsOptions {
  /** Sandboxes up to which other nodes get room; this node's own count too */
  readonly slots: number
  readonly self: string
  /** The node of each sandbox that is here, asleep or not */
  readonly owners: () => readonly string[]
}

export class Slots {
  readonly #options: SlotsOptions
  /** Those of other nodes that are being made, by node */
  readonly #making = new Map<string, number>()

  constructor(options: SlotsOptions) {
    this.#options = options
  }

  /** Slots of `sandbox.slots` that nobody has. */
  free(): number {
    const making = [...this.#making.values()].reduce((sum, count) => sum + count, 0)
    return Math.max(0, this.#options.slots - this.#options.owners().length - making)
  }

  /** Makes a sandbox of `owner`, for which a slot is kept meanwhile. @throws MeshError E_OVERLOADED, and what `make` throws */
  async fill<T>(owner: string, make: () => Promise<T>): Promise<T> {
    if (owner === this.#options.self) return make()
    this.#demand(owner)
    this.#count(owner, 1)
    try {
      return await make()
    } finally {
      this.#count(owner, -1)
    }
  }

  #demand(owner: string): void {
    const { slots, owners } = this.#options
    if (this.free() === 0)
      throw new MeshError('E_OVERLOADED', `Cannot make the sandbox: of the ${slots} slots of this node none is free`, {
        hint: 'Use another node, or ask the operator of this one to raise sandbox.slots',
      })
    const share = Math.max(1, Math.floor(slots * LIMITS.sandboxShare))
    const taken = owners().filter((node) => node === owner).length + (this.#making.get(owner) ?? 0)
    if (taken >= share)
      throw new MeshError('E_OVERLOADED', `Cannot make the sandbox: one node may have ${share} on this one`, {
        hint: 'Remove some, use another node, or ask the operator of this one to raise sandbox.slots',
      })
  }

  #count(owner: string, by: 1 | -1): void {
    const count = (this.#making.get(owner) ?? 0) + by
    if (count === 0) this.#making.delete(owner)
    else this.#making.set(owner, count)
  }
}
