/**
 * Artifacts by the SDK, on two nodes of this host: files are committed without a checkout, a change is proposed, checked, approved on the other node and merged, a task takes
 * a commit as input and gives one as output, all of it is held by both nodes, and what the task did is undone. Every step is compared with what should have come of it.
 */
import assert from 'node:assert/strict'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Artifact, type Mesh, verifyReceipt } from '@manyhands/sdk'
import { DemoNode, startNodes, stopNodes } from '../demo/nodes.ts'

const PROGRAM = new URL('./count-words.ts', import.meta.url)
const NAMES = ['north', 'south']

const say = (text: string): void => console.log(text)

async function main(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'manyhands-artifacts-'))
  const nodes = NAMES.map((name) => new DemoNode(name, folder))
  const ending = new AbortController()
  try {
    const [north, south] = await startNodes(folder, NAMES)
    if (north === undefined || south === undefined) throw new Error('no nodes')
    const mesh = await north.connect()
    const other = await south.connect()
    const notes = await written(mesh)
    const events = watched(notes, ending.signal)
    const copy = await copied(notes, other)
    await reviewed(notes, copy)
    const task = await worked(mesh, notes)
    await undone(mesh, notes, copy, task)
    ending.abort()
    say(`7. Events meanwhile: ${[...(await events)].sort().join(', ')}`)
    await Promise.all([mesh.close(), other.close()])
  } finally {
    ending.abort()
    await stopNodes(nodes, folder)
  }
}

/** A commit is made of files alone; with `expectedHead` it is refused when somebody else was faster. */
async function written(mesh: Mesh): Promise<Artifact> {
  const notes = await mesh.artifacts.create({ name: 'notes', review: { checks: ['spelling'], approvals: 1 } })
  const files = [
    { path: 'one.md', text: 'many hands\n' },
    { path: 'two.md', text: 'make ligth work\n' },
  ]
  const { commit } = await notes.commit({ message: 'First notes', files })
  const late = notes.commit({ message: 'Too late', files: [{ path: 'x', text: '' }], expectedHead: null })
  await assert.rejects(late, { code: 'E_REF_CONFLICT' })
  const { entries } = await notes.list()
  say(`1. Committed ${entries.length} files as ${commit.slice(0, 10)}, and refused a commit that came too late`)
  return notes
}

/** Types of what happened to the artifact, until the signal. */
async function watched(notes: Artifact, signal: AbortSignal): Promise<ReadonlySet<string>> {
  const seen = new Set<string>()
  try {
    for await (const { type } of notes.watch({ signal })) seen.add(type)
  } catch (error) {
    if (!signal.aborted) throw error
  }
  return seen
}

/** From now on both nodes hold it, whoever is away. */
async function copied(notes: Artifact, other: Mesh): Promise<Artifact> {
  await notes.replicate({ min: 2 })
  await until('both hold it', async () => (await notes.replication()).state === 'healthy')
  const copy = await other.artifact('notes')
  assert.equal(await copy.readText('one.md'), 'many hands\n')
  say(
    `2. Held by ${(await notes.replication()).holders.map(({ name, node }) => name ?? node).join(' and ')}, as they signed`,
  )
  return copy
}

async function reviewed(notes: Artifact, copy: Artifact): Promise<void> {
  const files = [{ path: 'two.md', text: 'make light work\n' }]
  await notes.commit({ branch: 'agent/fix', from: 'main', message: 'Fix a word', files, by: { agent: 'speller' } })
  const proposal = await notes.propose({ from: 'agent/fix', by: { agent: 'speller' } })
  await assert.rejects(proposal.merge(), { code: 'E_REVIEW' })
  say(`3. Proposed "${proposal.view.title}"; it lacks: ${proposal.view.lacking.join('; ')}`)
  await proposal.check({ name: 'spelling', result: 'pass' })
  await until('the proposal comes to the other node', () =>
    copy.proposals.get(proposal.id).then(
      () => true,
      () => false,
    ),
  )
  await (await copy.proposals.get(proposal.id)).approve({ text: 'Looks good' })
  await until('the approval comes back', async () => (await notes.proposals.get(proposal.id)).view.lacking.length === 0)
  const { state } = await proposal.merge()
  assert.equal(await notes.readText('two.md'), 'make light work\n')
  const { entries } = await notes.diff('agent/fix', 'main')
  say(`4. Checked here, approved on the other node: ${state}, ${entries.length} differences left`)
}

/** The program gets the files of a commit; what it returns becomes one. Two receipts tell of it: of the work, and of the commits before and after it. */
async function worked(mesh: Mesh, notes: Artifact): Promise<string> {
  const artifacts = { input: { artifact: 'notes', rev: 'main' }, output: { artifact: 'notes', branch: 'main' } }
  const task = await mesh.tasks.run(PROGRAM, { artifacts, name: 'count' })
  assert.equal(await notes.readText('counts.txt'), 'one.md: 2\ntwo.md: 3\n')
  const [work, commits] = (await mesh.tasks.receipts(task.id)).map(verifyReceipt)
  assert.ok(work?.valid && commits?.valid)
  assert.deepEqual(commits.commits, { input: task.commits?.input, output: task.commits?.output })
  const [from = '', to = ''] = [task.commits?.input?.commit, task.commits?.output?.commit]
  say(`5. A task read ${from.slice(0, 10)} and gave ${to.slice(0, 10)}; its receipts name both`)
  return task.id
}

async function undone(mesh: Mesh, notes: Artifact, copy: Artifact, task: string): Promise<void> {
  const { undone: isDone } = await mesh.tasks.undo(task)
  assert.ok(isDone)
  await assert.rejects(notes.readText('counts.txt'), { code: 'E_NOT_FOUND' })
  await until('the other node follows', async () => (await notes.replication()).state === 'healthy')
  const { valid, faults, writers } = await copy.verify()
  assert.ok(valid, faults[0])
  const records = writers.reduce((sum, { records: count }) => sum + count, 0)
  say(
    `6. Undone by a new commit; the other node has it too, and ${records} signed records of ${writers.length} writers hold`,
  )
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 30_000
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`never: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

await main()
