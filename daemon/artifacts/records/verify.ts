/**
 * Verifies an artifact from its repository alone: a plain clone that holds refs/manyhands/*, on any host, with no daemon, journal or network.
 *
 *   genesis     the owner's first record hashes to the artifact's id and names the owner
 *   signatures  each record is signed by the writer it names, and stands in the one commit that follows from it
 *   chain       each record names the hash of the one before, sequences fall by one down to 1, epochs never fall on the way up
 *   moves       what changed between two records is what the later one says it moved
 *   refs        branches, tags and notes are the canonical ones that follow from the newest records; so are the writers' namespaces
 *   proofs      two records of one writer under one number, both really signed
 *   objects     Git's own check of everything that is reachable
 *
 * That no newer record exists elsewhere cannot be seen from one repository: compare `writers` with another holder's.
 */
import { ancestryQuestions, canonicalRefs, type Voting } from '../../../protocol/artifact/canonical-refs.ts'
import { type ArtifactRecord, openRecord, type SealedRecord } from '../../../protocol/artifact/record.ts'
import { recordRef, writerRef } from '../../../protocol/artifact/ref-name.ts'
import type { ArtifactSettings } from '../../../protocol/artifact/settings.ts'
import { MeshError } from '../../../protocol/errors.ts'
import { ancestors } from '../store/ancestry.ts'
import { runGit } from '../store/git-process.ts'
import { ObjectReader } from '../store/object-reader.ts'
import { readRecordCommit } from './record-commit.ts'

export interface VerifiedWriter {
  readonly writer: string
  /** Of its newest record */
  readonly sequence: number
  /** Records that were checked */
  readonly records: number
  readonly frozen: boolean
}

export interface NamedReceipt {
  /** sha256 of the receipt's payload, hex */
  readonly receipt: string
  readonly writer: string
  readonly sequence: number
}

export interface Verification {
  readonly valid: boolean
  /** One sentence each; empty when valid */
  readonly faults: readonly string[]
  /** Undefined while its owner's first record is missing */
  readonly artifact?: string
  readonly owner?: string
  readonly writers: readonly VerifiedWriter[]
  /** Receipts that moves refer to, newest first for each writer; at most 10,000 */
  readonly receipts: readonly NamedReceipt[]
}

export interface VerifyOptions {
  /** The id it must have: without it, any artifact that fits itself is valid */
  readonly artifact?: string
  /** Whether to let Git check all objects too. @default true */
  readonly objects?: boolean
  readonly signal?: AbortSignal
}

interface Findings {
  readonly faults: string[]
  readonly receipts: NamedReceipt[]
}

interface Chain {
  readonly newest: ArtifactRecord
  readonly records: number
  /** The owner's alone */
  readonly genesis: boolean
  /** Newest ones on the chain */
  readonly settings: ArtifactSettings | undefined
}

const MAX_FAULTS = 100
const MAX_RECEIPTS = 10_000
const RECORDS = 'refs/manyhands/records/'
const PROOFS = 'refs/manyhands/proofs/'
const WRITERS = 'refs/manyhands/writers/'

/** @param repository the bare repository, or the .git of a clone @throws MeshError E_BAD_REQUEST when it is no repository, E_GIT_MISSING; the signal's reason */
export async function verifyRepository(repository: string, options: VerifyOptions = {}): Promise<Verification> {
  const refs = await readRefs(repository, options.signal)
  const found: Findings = { faults: [], receipts: [] }
  const reader = new ObjectReader({ foreign: true })
  try {
    const chains = new Map<string, Chain>()
    for (const [ref, commit] of refs) {
      if (!ref.startsWith(RECORDS)) continue
      const writer = ref.slice(RECORDS.length)
      const chain = await verifyChain(reader, repository, { writer, commit, found, signal: options.signal })
      if (chain !== undefined) chains.set(writer, chain)
    }
    const frozen = await verifyProofs(reader, repository, refs, found)
    const [owner, first] = [...chains].find(([, chain]) => chain.genesis) ?? []
    if (owner === undefined || first === undefined) {
      found.faults.push("The owner's records are missing: fetch refs/manyhands/* too")
    } else {
      if (options.artifact !== undefined && options.artifact !== first.newest.artifact)
        found.faults.push(`It is the artifact ${first.newest.artifact}, another one than asked for`)
      verifyTogether(owner, first, chains, found)
      await verifyRefs(repository, refs, { owner, chains, frozen, found })
    }
    if (options.objects !== false) await verifyObjects(repository, found, options.signal)
    const writers = [...chains].map(([writer, { newest, records }]) => ({
      writer,
      sequence: newest.sequence,
      records,
      frozen: frozen.has(writer),
    }))
    const faults = found.faults.slice(0, MAX_FAULTS)
    const identity = first === undefined || owner === undefined ? {} : { artifact: first.newest.artifact, owner }
    return { valid: faults.length === 0, faults, ...identity, writers, receipts: found.receipts }
  } finally {
    await reader.close()
  }
}

async function readRefs(repository: string, signal: AbortSignal | undefined): Promise<Map<string, string>> {
  const args = ['for-each-ref', '--format=%(objectname) %(refname)']
  const { code, stdout } = await runGit({
    args,
    repository,
    foreign: true,
    ...(signal === undefined ? {} : { signal }),
  })
  if (code !== 0) throw new MeshError('E_BAD_REQUEST', 'Cannot verify: there is no Git repository')
  const lines = stdout
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '')
  return new Map(lines.map((line) => [line.slice(41), line.slice(0, 40)]))
}

interface Walk {
  readonly writer: string
  readonly commit: string
  readonly found: Findings
  readonly signal: AbortSignal | undefined
}

/** From the newest record down to the first. @returns undefined when not even the newest can be read */
async function verifyChain(
  reader: ObjectReader,
  repository: string,
  { writer, commit, found, signal }: Walk,
): Promise<Chain | undefined> {
  const fault = (sequence: number | string, what: string): void => {
    found.faults.push(`Record ${sequence} of ${writer}: ${what}`)
  }
  let newest: ArtifactRecord | undefined
  let settings: ArtifactSettings | undefined
  let later: SealedRecord | undefined
  let next: string | null = commit
  let records = 0
  while (next !== null) {
    signal?.throwIfAborted()
    const at: number | string = later === undefined ? 'newest' : later.record.sequence - 1
    const read: OpenedLink | string = await openLink(reader, repository, next)
    if (typeof read === 'string') {
      fault(at, read)
      break
    }
    const { sealed, parent } = read
    const { record } = sealed
    for (const what of faultsOf(sealed, later, writer)) fault(record.sequence, what)
    if (record.by.receipt !== undefined && found.receipts.length < MAX_RECEIPTS) {
      found.receipts.push({ receipt: record.by.receipt, writer, sequence: record.sequence })
    }
    newest ??= record
    settings ??= record.settings
    records += 1
    later = sealed
    next = parent
  }
  if (next === null && later !== undefined && later.record.sequence !== 1)
    fault(later.record.sequence, 'those before it are missing')
  const genesis = later?.record.sequence === 1 && later.record.genesis !== undefined
  return newest && { newest, records, genesis, settings }
}

interface OpenedLink {
  readonly sealed: SealedRecord
  readonly parent: string | null
}

async function openLink(reader: ObjectReader, repository: string, commit: string): Promise<OpenedLink | string> {
  const object = await reader.read(repository, commit, 1 << 20).catch(() => undefined)
  const link = object?.type === 'commit' ? readRecordCommit(object.content) : undefined
  if (link === undefined) return object === undefined ? 'its commit is missing' : 'its commit is not that of a record'
  try {
    return { sealed: openRecord(link.text), parent: link.parent }
  } catch (error) {
    return error instanceof Error ? error.message : 'it cannot be read'
  }
}

/** @param later the record that names this one as the one before it */
function faultsOf({ record, digest }: SealedRecord, later: SealedRecord | undefined, writer: string): string[] {
  const faults: string[] = []
  if (record.writer !== writer) faults.push('it is of another writer')
  if (later === undefined) return faults
  const next = later.record
  if (next.artifact !== record.artifact) faults.push('it is of another artifact')
  if (next.sequence !== record.sequence + 1) faults.push(`it is followed by record ${next.sequence}`)
  if (next.previous !== digest) faults.push('the record after it names another one')
  if (next.epoch < record.epoch) faults.push('the record after it has a lower epoch')
  const named = new Map(next.moves.map((move) => [move.ref, move.new]))
  for (const ref of new Set([...Object.keys(record.refs), ...Object.keys(next.refs)])) {
    if (record.refs[ref] === next.refs[ref]) continue
    if (named.get(ref) !== (next.refs[ref] ?? null)) faults.push(`the record after it moves ${ref} without saying so`)
  }
  return faults
}

function verifyTogether(owner: string, first: Chain, chains: ReadonlyMap<string, Chain>, { faults }: Findings): void {
  for (const [writer, chain] of chains) {
    if (chain.newest.artifact !== first.newest.artifact) faults.push(`The records of ${writer} are of another artifact`)
    if (writer === owner) continue
    if (chain.genesis) faults.push(`${writer} has a genesis too`)
    if (chain.settings !== undefined) faults.push(`${writer} changed settings, which only the owner may`)
  }
}

/** Which writers are proven to have signed two histories. */
async function verifyProofs(
  reader: ObjectReader,
  repository: string,
  refs: ReadonlyMap<string, string>,
  { faults }: Findings,
): Promise<Set<string>> {
  const frozen = new Set<string>()
  for (const [ref, commit] of refs) {
    if (!ref.startsWith(PROOFS) || !ref.endsWith('/a')) continue
    const [writer = '', number] = ref.slice(PROOFS.length).split('/')
    const rival = refs.get(`${ref.slice(0, -1)}b`)
    const sides = await Promise.all([commit, rival ?? ''].map((oid) => openLink(reader, repository, oid)))
    const records = sides.flatMap((side) => (typeof side === 'string' ? [] : [side.sealed]))
    const [a, b] = records
    const isProof = a !== undefined && b !== undefined && contradict(a, b) && a.record.writer === writer
    if (isProof) frozen.add(writer)
    else faults.push(`The proof against ${writer} at record ${number} is none`)
  }
  return frozen
}

/** Two different records under one number; or the second names a first that is not the one held. */
function contradict(a: SealedRecord, b: SealedRecord): boolean {
  if (a.record.writer !== b.record.writer || a.record.artifact !== b.record.artifact || a.digest === b.digest)
    return false
  return (
    a.record.sequence === b.record.sequence ||
    (b.record.sequence === a.record.sequence + 1 && b.record.previous !== a.digest)
  )
}

interface Sight {
  readonly owner: string
  readonly chains: ReadonlyMap<string, Chain>
  readonly frozen: ReadonlySet<string>
  readonly found: Findings
}

async function verifyRefs(
  repository: string,
  refs: ReadonlyMap<string, string>,
  { owner, chains, frozen, found }: Sight,
): Promise<void> {
  const settings = chains.get(owner)?.settings
  const threshold = settings?.threshold ?? 1
  const counted = [...chains].filter(([writer]) => threshold <= 1 || !frozen.has(writer))
  const refsOf = new Map(counted.map(([writer, { newest }]) => [writer, new Map(Object.entries(newest.refs))]))
  const voting: Voting = { owner, delegates: settings?.delegates ?? [], threshold, refsOf }
  const canonical = canonicalRefs(voting, await ancestors(repository, ancestryQuestions(voting))).refs
  compare(shownIn(refs), canonical, 'The canonical refs', found)
  const wanted = new Map<string, string>()
  for (const [writer, { newest }] of chains) {
    if (writer === owner && threshold <= 1) continue
    for (const [ref, oid] of Object.entries(newest.refs)) wanted.set(writerRef(writer, ref), oid)
  }
  const held = new Map([...refs].filter(([ref]) => ref.startsWith(WRITERS)))
  compare({ refs: held, covers: () => true }, wanted, "The writers' refs", found)
  for (const writer of chains.keys())
    if (!refs.has(recordRef(writer))) found.faults.push(`The record ref of ${writer} is missing`)
}

interface Shown {
  readonly refs: ReadonlyMap<string, string>
  /** Whether a clone of this kind would have the ref at all */
  readonly covers: (ref: string) => boolean
}

/** An ordinary clone has branches as refs/remotes/origin/*, and branches of its user beside them; a mirror has them as they are. */
function shownIn(refs: ReadonlyMap<string, string>): Shown {
  const remote = 'refs/remotes/origin/'
  const isClone = [...refs.keys()].some((ref) => ref.startsWith(remote))
  const shown = new Map<string, string>()
  for (const [ref, oid] of refs) {
    if (isClone && ref.startsWith(remote) && ref !== `${remote}HEAD`)
      shown.set(`refs/heads/${ref.slice(remote.length)}`, oid)
    else if (!isClone && /^refs\/(heads|tags|notes|proposals)\//.test(ref)) shown.set(ref, oid)
  }
  return { refs: shown, covers: (ref) => !isClone || ref.startsWith('refs/heads/') }
}

function compare(
  { refs, covers }: Shown,
  wanted: ReadonlyMap<string, string>,
  what: string,
  { faults }: Findings,
): void {
  for (const [ref, oid] of wanted) {
    const found = refs.get(ref)
    if (covers(ref) && found !== oid) faults.push(`${what}: ${ref} is at ${found ?? 'nothing'}, the records say ${oid}`)
  }
  for (const [ref, oid] of refs)
    if (!wanted.has(ref)) faults.push(`${what}: ${ref} is at ${oid}, the records say nothing of it`)
}

async function verifyObjects(repository: string, { faults }: Findings, signal: AbortSignal | undefined): Promise<void> {
  const args = ['fsck', '--full', '--no-dangling', '--no-progress', '--no-reflogs']
  const call = { args, repository, foreign: true, ...(signal === undefined ? {} : { signal }) }
  const { code, stdout, stderr } = await runGit(call)
  if (code === 0) return
  const lines = `${stdout.toString('utf8')}\n${stderr}`.split('\n').filter((line) => line !== '')
  for (const line of lines.slice(0, 20)) faults.push(`Objects: ${line.slice(0, 300)}`)
}
