/**
 * Takes back what a task changed in artifacts: a new commit on each branch it moved, on which every path that the task changed stands as it did before.
 *
 * Refused for a branch when work of others would go with it: a path the task changed was changed again, later or between two of its changes, or a branch it made
 * or removed is in use.
 * Nothing is undone unless all of it can be; a branch that moves in between is reported as refused, with what was undone before it.
 */
import type { UndoView } from '../../../protocol/api.ts'
import { MeshError, toMeshError } from '../../../protocol/errors.ts'
import type { Attribution, RefMove } from '../../../protocol/artifact/record.ts'
import { refKind } from '../../../protocol/artifact/ref-name.ts'
import type { Journal } from '../../journal/journal.ts'
import type { OpenStore } from '../store/journal-store.ts'
import { encodeCommit, type GitObject, type ReadTree } from '../store/git-object.ts'
import { TABLES } from '../store/rows.ts'
import { changeTree, diffTrees, type Leaf, leafAt } from './tree-changes.ts'

type Entry = UndoView['artifacts'][number]

/** One ref that a task moved, with its moves from the oldest on. */
interface Touched {
  readonly artifact: string
  readonly ref: string
  readonly moves: readonly RefMove[]
}

type Plan =
  | { readonly entry: Entry; readonly refused: string }
  | { readonly entry: Entry; readonly move: RefMove; readonly objects: readonly GitObject[] }
  | { readonly entry: Entry; readonly nothing: true }

export interface UndoParts {
  readonly store: OpenStore
  readonly journal: Journal
  /** Whether this node has a task of that id */
  readonly isTask: (id: string) => boolean
  /** Seconds since 1970; shown as the commit's time */
  readonly now: () => number
}

/** Moves of one task that are looked at; more is refused. */
const MAX_MOVES = 9_999

/** @throws MeshError E_NOT_FOUND when no task has that id and nothing was moved in its name; E_TOO_LARGE, E_STORAGE */
export async function undoTask(parts: UndoParts, task: string, dryRun: boolean, by: Attribution): Promise<UndoView> {
  const plans: Plan[] = []
  const all = await touchedBy(parts.journal, task)
  // A task of another node, or one that was dropped since, is known by what was moved in its name alone
  if (all.length === 0 && !parts.isTask(task))
    throw new MeshError('E_NOT_FOUND', `Cannot undo the task: there is none with id "${task.slice(0, 64)}"`, {
      hint: 'See them with: manyhands task ls; what moved an artifact: manyhands artifact audit <artifact>',
    })
  for (const touched of all) {
    // A review is a record of what was said: it is not taken back
    if (refKind(touched.ref) === 'proposals' || parts.store.get(touched.artifact) === undefined) continue
    plans.push(await planOne(parts, task, touched))
  }
  const refused = plans.some((plan) => 'refused' in plan)
  if (dryRun || refused) return { task, undone: false, artifacts: plans.map(entryOf) }
  const done: Entry[] = []
  let undone = true
  for (const plan of plans) {
    if (!('move' in plan)) {
      done.push(entryOf(plan))
      continue
    }
    try {
      const { entry, move, objects } = plan
      await parts.store.transact(entry.artifact, [move], { by: { ...by, reason: `undo of task ${task}` }, objects })
      done.push({ ...entry, ...(move.new === null ? {} : { commit: move.new }) })
    } catch (thrown) {
      undone = false
      const error = toMeshError(thrown)
      done.push({ ...plan.entry, refused: `${error.message} [${error.code}]` })
    }
  }
  return { task, undone, artifacts: done }
}

function entryOf(plan: Plan): Entry {
  return 'refused' in plan ? { ...plan.entry, refused: plan.refused } : plan.entry
}

async function touchedBy(journal: Journal, task: string): Promise<Touched[]> {
  const found = new Map<string, { artifact: string; ref: string; moves: RefMove[] }>()
  const rows = await journal.range(TABLES.task, { prefix: `${task}/`, limit: MAX_MOVES + 1 })
  if (rows.length > MAX_MOVES)
    throw new MeshError('E_TOO_LARGE', `Cannot undo the task: it moved refs more than ${MAX_MOVES} times`)
  for (const { key, value } of rows) {
    const artifact = key.split('/')[1] ?? ''
    for (const move of movesOf(value)) {
      const id = `${artifact} ${move.ref}`
      const touched = found.get(id) ?? { artifact, ref: move.ref, moves: [] }
      touched.moves.push(move)
      found.set(id, touched)
    }
  }
  return [...found.values()]
}

/** Written by the store itself. */
function movesOf(value: Uint8Array): readonly RefMove[] {
  const row: unknown = JSON.parse(Buffer.from(value).toString('utf8'))
  if (typeof row !== 'object' || row === null || !('moves' in row) || !Array.isArray(row.moves))
    throw new MeshError('E_JOURNAL_VERSION', 'Cannot read what a task moved: another version wrote it')
  return row.moves as RefMove[]
}

async function planOne({ store, now }: UndoParts, task: string, touched: Touched): Promise<Plan> {
  const { artifact, ref, moves } = touched
  const { name } = store.require(artifact)
  const path = await store.repository(artifact)
  const tip = store.refs(artifact).get(ref) ?? null
  const commits = moves.flatMap((move) => move.new ?? []).reverse()
  const entry: Entry = { artifact, name, ref, commits }
  const refuse = (refused: string): Plan => ({ entry, refused })
  const [first, last] = [moves[0], moves.at(-1)]
  if (first === undefined || last === undefined || first.old === last.new) return { entry, nothing: true }
  if (tip === first.old) return { entry, nothing: true }
  if (tip === null || first.old === null || last.new === null || refKind(ref) === 'tags') {
    if (tip !== last.new) return refuse('later work moved it again, and the task had made or removed it')
    if (wasMovedBetween(moves)) return refuse('others moved it in between, and the task had made or removed it')
    return { entry, move: { ref, old: tip, new: first.old }, objects: [] }
  }
  const read: ReadTree = async (oid) => (await needed(store, path, oid)).content
  const rootOf = async (commit: string): Promise<string> => (await needed(store, path, `${commit}^{tree}`)).oid
  const root = await rootOf(tip)
  const back = new Map<string, Leaf | undefined>()
  /** What must stand at a path now, for nobody else to have changed it: the newest move of the task decides */
  const expected = new Map<string, Leaf | undefined>()
  for (const move of moves.toReversed()) {
    if (move.old === null || move.new === null) return refuse('the task removed it and made it again')
    for (const change of await diffTrees(read, await rootOf(move.old), await rootOf(move.new))) {
      const found = back.get(change.path)
      if (!expected.has(change.path)) expected.set(change.path, change.new)
      else if (!isSameLeaf(found, change.new) && !isSameLeaf(found, change.old))
        return refuse(`others changed ${nameOf(change.path)} between two changes of the task`)
      back.set(change.path, change.old)
    }
  }
  for (const [changed, leaf] of expected) {
    const now = await leafAt(read, root, changed)
    // What stands there as it did before needs nothing: it was undone before, or somebody else put it back
    if (!isSameLeaf(now, leaf) && !isSameLeaf(now, back.get(changed)))
      return refuse(`later work changed ${nameOf(changed)}`)
  }
  if (back.size === 0) return { entry, nothing: true }
  const { tree, objects } = await changeTree(read, root, back)
  if (tree === root) return { entry, nothing: true }
  const person = { name: 'manyhands', email: 'undo@manyhands.invalid', at: now() }
  const message = `Undo task ${task}\n\nTakes back ${commits.length === 1 ? 'its commit' : `its ${commits.length} commits`} on ${ref}.\n\nUndoes: ${task}\n`
  const commit = encodeCommit({ tree, parents: [tip], author: person, committer: person, message })
  return { entry, move: { ref, old: tip, new: commit.oid }, objects: [...objects, commit] }
}

/** Whether others moved the ref between two moves of the task: what they did would go with it. */
function wasMovedBetween(moves: readonly RefMove[]): boolean {
  return moves.some(({ old }, index) => index > 0 && old !== moves[index - 1]?.new)
}

function isSameLeaf(one: Leaf | undefined, other: Leaf | undefined): boolean {
  return one?.oid === other?.oid && one?.mode === other?.mode
}

/** Paths are kept as bytes. */
function nameOf(path: string): string {
  return Buffer.from(path, 'latin1').toString('utf8').slice(0, 200)
}

async function needed(store: OpenStore, path: string, name: string): Promise<GitObject> {
  const found = await store.reader.read(path, name)
  if (found !== undefined) return found
  throw new MeshError('E_STORAGE', 'Cannot read an object of the artifact: it is missing from its repository')
}
