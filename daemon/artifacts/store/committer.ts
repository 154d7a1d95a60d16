/** The one place where an artifact changes: objects made durable, then one append of all rows, then the repository brought up to date. */
import { ancestryQuestions, canonicalRefs, type Voting } from '../../../protocol/artifact/canonical-refs.ts'
import type { ArtifactSettings } from '../../../protocol/artifact/settings.ts'
import { failpoint } from '../../failpoint.ts'
import type { Journal, TableWrite } from '../../journal/journal.ts'
import { ancestors } from './ancestry.ts'
import type { FilesChange, RefMove, Staging } from './artifact-store.ts'
import { type Catalog, stateWrites } from './catalog.ts'
import type { GitObject } from './git-object.ts'
import { encodePackRow, makePack } from './pack-file.ts'
import { pendingWrite, type Repositories } from './repositories.ts'
import { syncPack, syncRepository, takeObjects, writePack } from './repository-files.ts'
import { type ArtifactFact, bytesOf, encodeRow, type HeadRow, TABLES, taskKey } from './rows.ts'
import type { Settler } from './settler.ts'
import { type ArtifactState, defaultBranchOf } from './state.ts'
import type { Usage } from './usage.ts'

/** Objects above it, packed, are synced into the repository themselves instead of standing in the journal. Bytes. */
const MAX_CARRIED = 256 << 10

export interface Change {
  readonly type: ArtifactFact
  /** Whose record it is; with several, undefined */
  readonly writer?: string
  readonly objects: readonly GitObject[]
  readonly staging?: Staging | undefined
  readonly task?: string | undefined
  readonly moves?: readonly RefMove[]
  /** Further rows that change with it */
  readonly writes?: readonly TableWrite[]
}

export class Committer {
  readonly #journal: Journal
  readonly #catalog: Catalog
  readonly #repositories: Repositories
  readonly #usage: Usage
  readonly #settler: Settler

  constructor(journal: Journal, catalog: Catalog, repositories: Repositories, usage: Usage, settler: Settler) {
    this.#journal = journal
    this.#catalog = catalog
    this.#repositories = repositories
    this.#usage = usage
    this.#settler = settler
  }

  /** The state with other heads and settings, and the canonical refs that follow. @param where gives a repository that sees all objects the heads name */
  async withHeads(
    state: ArtifactState,
    heads: ReadonlyMap<string, HeadRow>,
    settings: ArtifactSettings | undefined,
    where: () => Promise<string>,
    name = state.row.name,
  ): Promise<ArtifactState> {
    const all = new Map([...state.heads, ...heads])
    const { canonical: _, ...row } = state.row
    const { owner } = row.genesis
    const decided = settings ?? row.settings
    const canonical = decided.threshold > 1 ? await elected(owner, decided, all, where) : undefined
    return {
      heads: all,
      row: {
        ...row,
        settings: decided,
        name,
        writers: [...all.keys()],
        sequence: all.get(owner)?.sequence ?? 0,
        frozen: [...all].filter(([, head]) => head.proof !== undefined).map(([writer]) => writer),
        ...(canonical === undefined ? {} : { canonical: Object.fromEntries(canonical) }),
      },
    }
  }

  /**
   * In the artifact's turn, its repository prepared.
   * @param before undefined: it is new here
   * @throws MeshError E_QUOTA, E_STORAGE; nothing has moved then
   */
  async commit(before: ArtifactState | undefined, next: ArtifactState, change: Change): Promise<ArtifactState> {
    const { id, agent } = next.row
    const path = this.#repositories.path(id)
    const pack = makePack(new Map(change.objects.map((object) => [object.oid, object])).values())
    const isCarried = pack.bytes.length <= MAX_CARRIED
    const added = pack.bytes.length + ((await change.staging?.bytes()) ?? 0)
    const packs = next.row.packs + (isCarried ? 1 : 0)
    const state: ArtifactState = { ...next, row: { ...next.row, bytes: next.row.bytes + added, packs } }
    await this.#usage.during(
      { agent, artifacts: before === undefined ? 1 : 0, bytes: added },
      bytesOf(next.row),
      async (usage) => {
        failpoint('artifact.before-objects')
        if (!isCarried) {
          await this.#repositories.prepare(before ?? next)
          await writePack(path, pack)
          await syncPack(path, pack)
        }
        if (change.staging !== undefined) await takeObjects(change.staging.objects, path)
        // the folders above new objects must survive too
        const isSynced = !isCarried || change.staging !== undefined
        if (isSynced && !next.row.made) await syncRepository(path, undefined, true)
        failpoint('artifact.after-objects')
        const writes = [
          ...stateWrites(before, state),
          ...taskWrites(state, change),
          ...(change.writes ?? []),
          ...usage(),
        ]
        if (isCarried) writes.push(pendingWrite(id, packs, encodePackRow(pack)))
        await this.#journal.append({ type: change.type, body: encodeRow(bodyOf(state, change)), writes })
      },
    )
    this.#catalog.put(state)
    failpoint('artifact.after-append')
    this.#repositories.changed(state, change.objects)
    // HEAD is written when the files are compared
    if (before !== undefined && defaultBranchOf(before.row) !== defaultBranchOf(state.row))
      this.#repositories.distrust(id)
    if (isCarried) this.#settler.note(id, pack.bytes.length)
    return state
  }

  /** Large files came or went: counted in the append that says so. In the artifact's turn. @throws MeshError E_QUOTA, E_STORAGE */
  async countFiles({ row, heads }: ArtifactState, { bytes, fact }: FilesChange): Promise<void> {
    const next: ArtifactState = { heads, row: { ...row, files: Math.max(0, (row.files ?? 0) + bytes) } }
    const change = { agent: row.agent, artifacts: 0, bytes: bytesOf(next.row) - bytesOf(row) }
    await this.#usage.during(change, bytesOf(row), (usage) => {
      const writes = [...fact.writes, { table: TABLES.artifact, key: row.id, value: encodeRow(next.row) }, ...usage()]
      return this.#journal.append({ ...fact, writes })
    })
    this.#catalog.put(next)
  }

  /** After its bytes were counted anew. */
  async recount(before: ArtifactState, next: ArtifactState): Promise<void> {
    const { id, agent, bytes } = next.row
    const change = { agent, artifacts: 0, bytes: bytes - before.row.bytes }
    // what is there is there: only growth by a caller is refused
    await this.#usage.adjust(change, (usage) =>
      this.#journal.append({
        type: 'artifact.settled',
        body: encodeRow({ artifact: id, bytes }),
        writes: [...stateWrites(before, next), ...usage()],
      }),
    )
    this.#catalog.put(next)
  }
}

function bodyOf({ row, heads }: ArtifactState, { writer }: Change): object {
  const head = writer === undefined ? undefined : heads.get(writer)
  return { artifact: row.id, ...(head === undefined ? {} : { writer, sequence: head.sequence, commit: head.commit }) }
}

function taskWrites({ row, heads }: ArtifactState, { task, writer, moves }: Change): TableWrite[] {
  const sequence = writer === undefined ? undefined : heads.get(writer)?.sequence
  if (task === undefined || moves === undefined || sequence === undefined) return []
  return [{ table: TABLES.task, key: taskKey(task, row.id, sequence), value: encodeRow({ moves }) }]
}

async function elected(
  owner: string,
  { delegates, threshold }: ArtifactSettings,
  heads: ReadonlyMap<string, HeadRow>,
  where: () => Promise<string>,
): Promise<ReadonlyMap<string, string>> {
  const sound = [...heads].filter(([, head]) => head.proof === undefined)
  const refsOf = new Map(sound.map(([writer, head]) => [writer, new Map(Object.entries(head.refs))]))
  const voting: Voting = { owner, delegates, threshold, refsOf }
  const reaches = await ancestors(await where(), ancestryQuestions(voting))
  return canonicalRefs(voting, reaches).refs
}
