/** Counts what happens to artifacts, for `/metrics`. */
import type { ReplicationFigures } from './replicate/replication.ts'
import type { ArtifactEvent } from './store/artifact-store.ts'

/** Since the daemon started, but for `artifacts`, `bytes` and what runs, which are as of now. */
export interface ArtifactFigures {
  readonly artifacts: number
  readonly bytes: number
  /** Refs moved by this node, and by records of others that it took */
  readonly moves: { readonly own: number; readonly adopted: number }
  /** Requests of Git clients that were let through to a repository */
  readonly git: { readonly fetch: number; readonly push: number }
  /** Records that came from other nodes, as far as they were new */
  readonly fetchedRecords: number
  readonly replication: ReplicationFigures
}

export class Figures {
  readonly #usage: () => { readonly artifacts: number; readonly bytes: number }
  readonly #replication: () => ReplicationFigures
  #moves = { own: 0, adopted: 0 }
  #git = { fetch: 0, push: 0 }
  #fetchedRecords = 0

  constructor(
    usage: () => { readonly artifacts: number; readonly bytes: number },
    replication: () => ReplicationFigures,
  ) {
    this.#usage = usage
    this.#replication = replication
  }

  happened({ type, moves }: Pick<ArtifactEvent, 'type' | 'moves'>): void {
    this.#moves[type === 'adopted' ? 'adopted' : 'own'] += moves.length
  }

  fetched(records: number): void {
    this.#fetchedRecords += records
  }

  /** A request of a Git client was answered. Lists of refs, large files and refusals do not count. */
  answered(method: string | undefined, url: string | undefined, status: number): void {
    if (method !== 'POST' || status !== 200) return
    const path = url?.split('?')[0] ?? ''
    if (path.endsWith('/git-upload-pack')) this.#git.fetch++
    if (path.endsWith('/git-receive-pack')) this.#git.push++
  }

  read(): ArtifactFigures {
    return {
      ...this.#usage(),
      moves: { ...this.#moves },
      git: { ...this.#git },
      fetchedRecords: this.#fetchedRecords,
      replication: this.#replication(),
    }
  }
}
