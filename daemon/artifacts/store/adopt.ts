/**
 * Takes records that other nodes signed. Each is admitted or refused on its own (protocol/artifact/admission.ts); what is admitted moves the writers' refs,
 * the canonical ones that follow and the owner's settings in one append. Two records under one sequence become a proof and freeze their writer.
 */
import { admitRecord, type AdmissionContext } from '../../../protocol/artifact/admission.ts'
import { openRecord, type SealedRecord } from '../../../protocol/artifact/record.ts'
import type { ArtifactSettings } from '../../../protocol/artifact/settings.ts'
import { MeshError } from '../../../protocol/errors.ts'
import type { RecordChain } from '../records/record-chain.ts'
import { recordCommit } from '../records/record-commit.ts'
import { ancestors } from './ancestry.ts'
import type { Adopted, AdoptOptions, ArtifactEvent, RefMove } from './artifact-store.ts'
import type { Catalog } from './catalog.ts'
import type { Committer } from './committer.ts'
import { EMPTY_TREE, type GitObject } from './git-object.ts'
import type { ObjectReader } from './object-reader.ts'
import { makePack } from './pack-file.ts'
import type { Offers } from './offers.ts'
import type { Repositories } from './repositories.ts'
import { small, writePack } from './repository-files.ts'
import type { ArtifactRow, HeadRow } from './rows.ts'
import { type ArtifactState, canonicalOf, headsOf } from './state.ts'
import { checkTips } from './tips.ts'

/** Records taken at once: what a fetch gathers of several streams, and the proofs that come with it. A longer history comes in several steps. */
const MAX_RECORDS = 80_000
/** Writers of one artifact. */
const MAX_WRITERS = 256

export interface AdoptContext {
  readonly self: string
  readonly committer: Committer
  readonly repositories: Repositories
  readonly catalog: Catalog
  readonly chain: RecordChain
  readonly reader: ObjectReader
  readonly offers: Offers
  readonly isMember: (node: string) => boolean
  readonly nameFor: (name: string, id: string) => string
}

export interface AdoptOutcome {
  readonly adopted: Adopted
  readonly events: readonly ArtifactEvent[]
}

/** What changes, while records are looked at one after another. */
interface Draft {
  readonly heads: Map<string, HeadRow>
  readonly objects: GitObject[]
  /** Last record taken of each writer */
  readonly taken: Map<string, SealedRecord>
  readonly frozen: Set<string>
  settings: ArtifactSettings | undefined
  count: number
}

/** In the artifact's turn. @throws MeshError E_PROTOCOL, E_SIGNATURE, E_REF_CONFLICT (a gap), E_FORBIDDEN, E_QUOTA, E_STORAGE; nothing has moved then */
export async function adoptRecords(
  context: AdoptContext,
  id: string,
  envelopes: readonly string[],
  { staging, objects = [], kinds }: AdoptOptions,
): Promise<AdoptOutcome> {
  if (envelopes.length > MAX_RECORDS)
    throw new MeshError('E_TOO_LARGE', `Cannot take ${envelopes.length} records: at most ${MAX_RECORDS} at once`)
  const records = envelopes.map((text) => openRecord(text))
  const held = context.catalog.state(id)
  const before = held ?? newState(id, records)
  const path = await context.repositories.prepare(before)
  try {
    const draft = emptyDraft()
    for (const record of records) await consider(context, before, draft, record, path)
    if (draft.heads.size === 0) return nothingNew(before)
    if (new Set([...before.heads.keys(), ...draft.heads.keys()]).size > MAX_WRITERS) {
      throw new MeshError('E_TOO_LARGE', `Cannot take a record: the artifact has ${MAX_WRITERS} writers already`)
    }
    const moves = movesOf(before, draft)
    await checkTips(context.reader, async () => path, [...moves.values()].flat(), { staging, objects, kinds })
    const where = staging?.path ?? path
    if ((draft.settings ?? before.row.settings).threshold > 1)
      await writePack(path, small(makePack(distinct(draft.objects))))
    const name =
      draft.settings === undefined || (held !== undefined && before.row.genesis.owner === context.self)
        ? before.row.name
        : context.nameFor(draft.settings.name, id)
    const voted = await context.committer.withHeads(before, draft.heads, draft.settings, async () => where, name)
    const next = await withoutContained(voted, context.self, where)
    const state = await context.committer.commit(held, next, {
      type: 'artifact.adopted',
      objects: [...draft.objects, ...objects],
      staging: objects.length > 0 ? undefined : staging,
      writes: context.offers.made(next, moves),
    })
    return {
      adopted: { heads: headsOf(state), taken: draft.count, frozen: [...draft.frozen] },
      events: eventsOf(state, draft, moves),
    }
  } catch (error) {
    // nobody knows of it: its files would stay for good
    if (held === undefined) await context.repositories.clear(id).catch(() => context.repositories.distrust(id))
    throw error
  }
}

function emptyDraft(): Draft {
  return { heads: new Map(), objects: [], taken: new Map(), frozen: new Set(), settings: undefined, count: 0 }
}

/** An artifact seen for the first time begins with its owner's first record. @throws MeshError E_NOT_FOUND */
function newState(id: string, records: readonly SealedRecord[]): ArtifactState {
  const first = records.find(({ record }) => record.genesis !== undefined && record.artifact === id)?.record
  if (first?.genesis === undefined || first.settings === undefined) {
    throw new MeshError(
      'E_NOT_FOUND',
      "Cannot take records of an artifact that is not held here: its owner's first one is missing",
    )
  }
  const { genesis, settings } = first
  const row: ArtifactRow = {
    v: 1,
    id,
    name: '',
    genesis,
    settings,
    bytes: 0,
    made: false,
    packs: 0,
    writers: [],
    sequence: 0,
    frozen: [],
  }
  return { row, heads: new Map() }
}

async function consider(
  context: AdoptContext,
  before: ArtifactState,
  draft: Draft,
  sealed: SealedRecord,
  path: string,
): Promise<void> {
  const { record, digest } = sealed
  const { row } = before
  const head = draft.heads.get(record.writer) ?? before.heads.get(record.writer)
  const heldDigest = await digestBelow(context, before, record.writer, record.sequence, path)
  const admission: AdmissionContext = {
    artifact: row.id,
    owner: row.genesis.owner,
    head: head && {
      sequence: head.sequence,
      digest: head.digest,
      epoch: head.epoch,
      ...(head.proof === undefined ? {} : { frozen: true }),
    },
    digestAt: (sequence) => (sequence === record.sequence ? heldDigest : undefined),
    isMember: context.isMember,
  }
  const { artifact, writer, sequence, previous, epoch, settings, genesis } = record
  // opening a record has shown that the genesis hashes to the artifact it names, and who signed it
  const origin = genesis === undefined ? undefined : { artifact, owner: genesis.owner }
  const verdict = admitRecord(
    {
      artifact,
      writer,
      signer: writer,
      sequence,
      digest,
      previous,
      epoch,
      hasSettings: settings !== undefined,
      genesis: origin,
    },
    admission,
  )
  switch (verdict.type) {
    case 'known':
      return
    case 'accept':
      return accept(draft, sealed, head)
    case 'gap':
      throw new MeshError(
        'E_REF_CONFLICT',
        `Cannot take record ${sequence}: those after ${verdict.after} are missing`,
        {
          details: { writer, after: verdict.after },
        },
      )
    case 'equivocation':
      return freeze(context, before, draft, sealed, { at: verdict.sequence, head, path })
    case 'refuse':
      if (verdict.why === 'quarantined')
        throw new MeshError('E_NOT_MEMBER', 'Cannot take a record: its writer does not belong to the mesh')
      if (verdict.why === 'frozen')
        throw new MeshError('E_FROZEN', 'Cannot take a record: its writer signed two under one number before')
      throw new MeshError('E_PROTOCOL', `Cannot take a record: ${verdict.why}`, {
        details: { writer, sequence, why: verdict.why },
      })
  }
}

/** The digest of a record that is held under an older number; undefined where none is, or finding it would take too long. */
async function digestBelow(
  { chain }: AdoptContext,
  { heads }: ArtifactState,
  writer: string,
  sequence: number,
  path: string,
): Promise<string | undefined> {
  const head = heads.get(writer)
  if (head === undefined || sequence >= head.sequence) return undefined
  return (await chain.at(path, head, sequence))?.digest
}

function accept(draft: Draft, sealed: SealedRecord, head: HeadRow | undefined): void {
  const { record, digest, text } = sealed
  const commit = recordCommit(text, head?.commit ?? null)
  const { sequence, epoch, refs, writer } = record
  draft.objects.push(commit, ...(sequence === 1 ? [EMPTY_TREE] : []))
  draft.heads.set(writer, { sequence, digest, commit: commit.oid, epoch, refs })
  draft.taken.set(writer, sealed)
  draft.settings = record.settings ?? draft.settings
  draft.count += 1
}

async function freeze(
  { chain }: AdoptContext,
  before: ArtifactState,
  draft: Draft,
  { record, text }: SealedRecord,
  { at, head, path }: { readonly at: number; readonly head: HeadRow | undefined; readonly path: string },
): Promise<void> {
  if (head === undefined || head.proof !== undefined) return
  const old = before.heads.get(record.writer)
  const kept = head.sequence === at || old === undefined ? head.commit : await chain.commitAt(path, old, at)
  // its true parent is not known here; a proof stands for itself
  const rival = recordCommit(text, null)
  draft.objects.push(rival, EMPTY_TREE)
  // what came with the contested record itself does not count: its objects may be nowhere
  const refs = old?.refs ?? {}
  draft.heads.set(record.writer, { ...head, refs, proof: { sequence: at, commits: [kept, rival.oid] } })
  draft.taken.delete(record.writer)
  draft.frozen.add(record.writer)
}

/** What the new records did to the refs of each writer, summed up. */
function movesOf(before: ArtifactState, draft: Draft): Map<string, RefMove[]> {
  const all = new Map<string, RefMove[]>()
  for (const writer of draft.taken.keys()) {
    const old = before.heads.get(writer)?.refs ?? {}
    const now = draft.heads.get(writer)?.refs ?? {}
    const names = [...new Set([...Object.keys(old), ...Object.keys(now)])].sort()
    const moves = names.map((ref) => ({ ref, old: old[ref] ?? null, new: now[ref] ?? null }))
    all.set(
      writer,
      moves.filter((move) => move.old !== move.new),
    )
  }
  return all
}

/** Own refs that the canonical ones contain are shown no more: what came after them counts. */
async function withoutContained(state: ArtifactState, self: string, where: string): Promise<ArtifactState> {
  const own = state.heads.get(self)
  if (own === undefined || state.row.genesis.owner === self) return state
  const canonical = canonicalOf(state)
  const pairs = Object.entries(own.refs).flatMap(([ref, oid]) => {
    const tip = canonical.get(ref)
    return tip === undefined ? [] : [{ ref, oid, tip }]
  })
  const reaches = await ancestors(
    where,
    pairs.map(({ oid, tip }) => [oid, tip] as const),
  )
  const hidden = pairs.filter(({ oid, tip }) => reaches(oid, tip)).map(({ ref }) => ref)
  const { hidden: _, ...head } = own
  const shown: HeadRow = hidden.length === 0 ? head : { ...head, hidden }
  return { ...state, heads: new Map([...state.heads, [self, shown]]) }
}

function eventsOf(
  { row }: ArtifactState,
  draft: Draft,
  moves: ReadonlyMap<string, readonly RefMove[]>,
): ArtifactEvent[] {
  const common = { artifact: row.id, name: row.name }
  const adopted = [...draft.taken].map(([writer, { record }]): ArtifactEvent => {
    return {
      ...common,
      type: 'adopted',
      writer,
      sequence: record.sequence,
      moves: moves.get(writer) ?? [],
      by: record.by,
    }
  })
  const frozen = [...draft.frozen].map((writer): ArtifactEvent => {
    const sequence = draft.heads.get(writer)?.proof?.sequence ?? 0
    return { ...common, type: 'frozen', writer, sequence, moves: [], by: { reason: 'two records under one number' } }
  })
  return [...adopted, ...frozen]
}

function nothingNew(state: ArtifactState): AdoptOutcome {
  return { adopted: { heads: headsOf(state), taken: 0, frozen: [] }, events: [] }
}

function distinct(objects: readonly GitObject[]): GitObject[] {
  return [...new Map(objects.map((object) => [object.oid, object])).values()]
}
