/** What a client of this node sees of an artifact's refs. */
import { runGit } from '../store/git-process.ts'
import type { ArtifactView } from '../store/artifact-store.ts'
import type { DoorStore } from './door-store.ts'
import type { ShownRefs } from './advertisement.ts'

/** Whether a tag object leads somewhere else never changes: object ids are kept with the answer. */
const MAX_KNOWN = 50_000
/** Refs of the system: records, other writers' refs, proofs. Only shown to who asks for them by name */
export const SYSTEM_PREFIX = 'refs/manyhands/'

export class RefShow {
  readonly #store: DoorStore
  /** Object id of a ref under refs/tags/ -> what it leads to; null: it is no tag object */
  readonly #targets = new Map<string, string | null>()

  constructor(store: DoorStore) {
    this.#store = store
  }

  /** @param system show refs/manyhands/ too. @param peel follow annotated tags */
  async show(view: ArtifactView, { system, peel }: { system: boolean; peel: boolean }): Promise<ShownRefs> {
    const refs = new Map(this.#store.refs(view.id))
    if (system) for (const [name, oid] of await this.#systemRefs(view)) refs.set(name, oid)
    const peeled = peel ? await this.#peel(view, refs) : new Map<string, string>()
    return { refs, head: `refs/heads/${view.defaultBranch}`, peeled }
  }

  /** Name in the repository of a ref as it is shown: this node's own lie apart unless it owns the artifact. */
  physicalName(view: ArtifactView, ref: string): string {
    const isOwn = !view.mine && this.#store.refs(view.id).get(ref) !== this.#store.refs(view.id, { as: null }).get(ref)
    return isOwn ? `${SYSTEM_PREFIX}writers/${this.#store.writer}/${ref.slice('refs/'.length)}` : ref
  }

  async #systemRefs(view: ArtifactView): Promise<[string, string][]> {
    const repository = await this.#store.repository(view.id)
    const args = ['for-each-ref', '--format=%(objectname) %(refname)', SYSTEM_PREFIX]
    const { stdout } = await runGit({ args, repository, foreign: false })
    return stdout
      .toString('utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line): [string, string] => [line.slice(41), line.slice(0, 40)])
  }

  async #peel(view: ArtifactView, refs: ReadonlyMap<string, string>): Promise<ReadonlyMap<string, string>> {
    const tags = [...refs].filter(([name]) => name.startsWith('refs/tags/')).map(([, oid]) => oid)
    const unknown = tags.filter((oid) => !this.#targets.has(oid))
    if (unknown.length > 0) await this.#learn(view, [...new Set(unknown)])
    const peeled = new Map<string, string>()
    for (const oid of tags) {
      const target = this.#targets.get(oid)
      if (target !== undefined && target !== null) peeled.set(oid, target)
    }
    return peeled
  }

  async #learn(view: ArtifactView, oids: readonly string[]): Promise<void> {
    const repository = await this.#store.repository(view.id)
    const args = ['cat-file', '--batch-check=%(objectname)']
    const { stdout } = await runGit({ args, repository, foreign: false }, oids.map((oid) => `${oid}^{}\n`).join(''))
    const targets = stdout.toString('latin1').split('\n')
    if (this.#targets.size + oids.length > MAX_KNOWN) this.#targets.clear()
    for (const [index, oid] of oids.entries()) {
      const target = targets[index] ?? ''
      // An object that is missing is answered in words: it is shown as it is
      this.#targets.set(oid, target !== oid && /^[0-9a-f]{40}$/.test(target) ? target : null)
    }
  }
}
