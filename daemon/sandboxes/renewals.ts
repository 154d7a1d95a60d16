/** Says now and then to every node that holds sandboxes of ours that they are still wanted: each by itself, so that one without an answer holds up no other. */

export interface RenewalsOptions {
  /** Nodes that hold sandboxes of this one */
  readonly holders: () => Iterable<string>
  readonly isConnected: (node: string) => boolean
  /** Comes to an end, whatever the node does */
  readonly renew: (node: string) => Promise<void>
  readonly warn: (facts: object, message: string) => void
}

export class Renewals {
  readonly #options: RenewalsOptions
  /** Asked, and not done yet */
  readonly #asked = new Set<string>()

  constructor(options: RenewalsOptions) {
    this.#options = options
  }

  tick(): void {
    const { holders, isConnected } = this.#options
    for (const node of holders()) if (isConnected(node) && !this.#asked.has(node)) void this.#renew(node)
  }

  async #renew(node: string): Promise<void> {
    this.#asked.add(node)
    try {
      await this.#options.renew(node)
    } catch (error) {
      this.#options.warn({ err: error, peer: node }, 'sandboxes on a peer were not heard of')
    } finally {
      this.#asked.delete(node)
    }
  }
}
