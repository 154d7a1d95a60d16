/** Copies that are given up because another node asks for it, unless somebody here wants them: asks the other holders what they hold, and decides by protocol/artifact/give-up.ts in the artifact's turn. */
import { keptFor, type KeptFor, type Stated } from '../../../protocol/artifact/give-up.ts'
import type { Holding } from '../../../protocol/artifact/holding.ts'
import { MeshError } from '../../../protocol/errors.ts'
import type { ArtifactStore } from '../store/artifact-store.ts'
import type { HeldArtifacts } from './held.ts'
import type { HoldingBook } from './holding-book.ts'
import type { Links } from './links.ts'

export interface GivingUpOptions {
  readonly self: string
  readonly store: ArtifactStore
  readonly book: HoldingBook
  readonly held: HeldArtifacts
  readonly links: Links
  /** How long the owner may be away before another decides, milliseconds */
  readonly graceMs: number
  /** What peers hold, by their own word now; those that do not answer are left out */
  readonly ask: (peers: readonly string[], artifact: string) => Promise<readonly Holding[]>
}

/** Looked at at once: each asks others. */
const MAX_GOING = 8
/** Other holders asked; a contract wants no more. */
const MAX_ASKED = 64

export class GivingUp {
  readonly #options: GivingUpOptions
  /** Copies that may go any moment, and the end of it */
  readonly #going = new Map<string, Promise<void>>()
  /** Copies that somebody here is asking for, and how many do */
  readonly #wanted = new Map<string, number>()

  constructor(options: GivingUpOptions) {
    this.#options = options
  }

  /** Whether the copy may go any moment: then nobody else must count on it. */
  isGoing(artifact: string): boolean {
    return this.#going.has(artifact)
  }

  /** @throws MeshError E_NOT_FOUND, E_CONFLICT, E_FORBIDDEN, E_OVERLOADED, E_TIMEOUT, E_STORAGE: it stays */
  async answer(artifact: string, asker: string): Promise<object> {
    this.#options.held.requireFor(artifact, asker)
    if (this.#going.has(artifact) || this.#going.size >= MAX_GOING) {
      throw new MeshError('E_OVERLOADED', 'Cannot give a copy up now: others are being looked at', {
        retryAfterMs: 1_000,
      })
    }
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#going.set(artifact, promise)
    try {
      await this.#giveUp(artifact, asker)
      return {}
    } finally {
      this.#going.delete(artifact)
      resolve()
    }
  }

  /** Does what makes a copy wanted; it is not given up while that lasts, and one that is going is gone or stays before it begins. */
  async during(artifact: string, work: () => Promise<void>): Promise<void> {
    this.#wanted.set(artifact, (this.#wanted.get(artifact) ?? 0) + 1)
    try {
      await this.#going.get(artifact)
      await work()
    } finally {
      const left = (this.#wanted.get(artifact) ?? 1) - 1
      if (left === 0) this.#wanted.delete(artifact)
      else this.#wanted.set(artifact, left)
    }
  }

  async #giveUp(artifact: string, asker: string): Promise<void> {
    const { store, book, ask } = this.#options
    const known = new Map((await book.of(artifact)).map(({ holding }) => [holding.holder, holding]))
    this.#require(artifact, asker, known)
    const others = this.#linked(artifact, known).filter((node) => node !== asker)
    const isOwner = asker === store.require(artifact).owner
    const now = isOwner ? [] : await ask(others.slice(0, MAX_ASKED), artifact)
    const stated = new Map(now.map((holding) => [holding.holder, holding]))
    // In the artifact's turn: what was pushed here meanwhile is nowhere else
    await store.remove(artifact, { reason: 'copy given up on request of a holder' }, () => {
      const latest = book.get(artifact, asker)
      this.#require(artifact, asker, latest === undefined ? stated : stated.set(asker, latest))
    })
  }

  #require(artifact: string, asker: string, stated: ReadonlyMap<string, Stated>): void {
    const { self, store, book, held, links, graceMs } = this.#options
    const { owner, settings } = store.require(artifact)
    const kept = keptFor({
      ...{ self, asker, owner, stated },
      contract: settings.replicas,
      placed: book.isPlaced(artifact) && !this.#wanted.has(artifact),
      mine: held.stated(artifact),
      isOwnerLost: links.link(owner) === undefined && links.awayMs(owner) >= graceMs,
      linked: this.#linked(artifact, stated),
    })
    if (kept !== undefined) throw refusal(kept)
  }

  #linked(artifact: string, stated: ReadonlyMap<string, Stated>): string[] {
    const { held, links } = this.#options
    return [...stated.keys()].filter((node) => links.link(node) !== undefined && held.isFor(artifact, node))
  }
}

const REASONS: Readonly<Record<KeptFor, string>> = {
  wanted: 'it is not one that was only asked for',
  'not-its-to-ask': 'its owner did not ask, nor the holder that stands in for it',
  'asker-lacks': 'it holds what the asker lacks',
  'too-few-others': 'too few others state that they hold all of it',
}

function refusal(kept: KeptFor): MeshError {
  return new MeshError(
    kept === 'not-its-to-ask' ? 'E_FORBIDDEN' : 'E_CONFLICT',
    `Cannot give a copy up: ${REASONS[kept]}`,
  )
}
