import { expect, test } from 'vitest'
import type { ReceiptEnvelope, TaskView } from '../../../protocol/api.ts'
import { MeshError } from '../../../protocol/errors.ts'
import { makeReceipt, NO_RECEIPTS, receiptDigest, verifyReceipt } from '../../../protocol/receipt/receipt.ts'
import { signerFromSeed } from '../../../protocol/signing/signing.ts'
import { DEFAULT_LIMITS } from '../../../test/support/task-node.ts'
import type { ArtifactServices } from '../../api/artifact-services.ts'
import { MemoryJournal } from '../../journal/memory-journal.ts'
import { ReceiptBook } from '../../tasks/receipt-book.ts'
import { TASK_ENGINE_RECORDS } from '../../tasks/records.ts'
import type { Tasks } from '../../tasks/tasks.ts'
import { TABLES } from '../store/rows.ts'
import { ArtifactTasks, TASK_FILES_RECORDS } from './artifact-tasks.ts'
import { pinKey, TASK_TABLES } from './files-row.ts'

const signer = signerFromSeed(new Uint8Array(32).fill(1))
const worker = signerFromSeed(new Uint8Array(32).fill(2))
const artifact = `a${'b'.repeat(32)}`
const read = { artifact, commit: '1'.repeat(40) }
const made = { artifact, commit: '2'.repeat(40), ref: 'refs/heads/main' }
const usage = { wallMs: 1, cpuMs: 1, memoryBytes: 1, outputBytes: 1, logBytes: 0, hostCalls: 0, calls: 1 }
const ofWork = makeReceipt(
  worker,
  {
    ...{ task: 't1', epoch: 1, kind: 'run', delegator: signer.nodeId, program: 'a'.repeat(64), input: 'b'.repeat(64) },
    ...{ output: 'c'.repeat(64), grade: 'jailed', limits: DEFAULT_LIMITS, usage, startedAtMs: 1, endedAtMs: 2 },
  },
  NO_RECEIPTS,
).envelope

function tasksOver(engine: Partial<Tasks>, services: Partial<ArtifactServices>, journal: MemoryJournal): ArtifactTasks {
  return new ArtifactTasks({
    tasks: engine as Tasks,
    journal,
    artifacts: () => Promise.resolve(services as ArtifactServices),
    receipts: new ReceiptBook(signer, journal),
    note: (what, facts) => expect.unreachable(`${what} ${JSON.stringify(facts)}`),
  })
}

/** A task that ended while this process was not there, as far as its row says. */
async function waiting(row: object): Promise<{ journal: MemoryJournal; commits: number[]; tasks: ArtifactTasks }> {
  const journal = new MemoryJournal({ types: [...TASK_ENGINE_RECORDS, ...TASK_FILES_RECORDS, 'artifact.moved'] })
  await journal.append({
    type: 'task-files.changed',
    body: new Uint8Array(0),
    writes: [
      { table: TASK_TABLES.files, key: 't1', value: Buffer.from(JSON.stringify({ subject: 'local', ...row })) },
      { table: TASK_TABLES.open, key: 't1', value: new Uint8Array(0) },
    ],
  })
  const task = { id: 't1', state: 'completed', output: { files: { a: 'b' } } } as unknown as TaskView
  const engine: Partial<Tasks> = {
    ended: () => Promise.resolve(task),
    get: () => task,
    receipts: () => Promise.resolve([ofWork] satisfies ReceiptEnvelope[]),
  }
  const commits: number[] = []
  const services: Partial<ArtifactServices> = {
    commitFor: () => Promise.resolve({ ...made, sequence: commits.push(1), changed: true, parents: [] }),
  }
  const tasks = tasksOver(engine, services, journal)
  return { journal, commits, tasks }
}

const row = { input: read, output: { artifact, branch: 'main' } }

test('a receipt names the commit that was read, the receipt of the work, and the commit that was made', async () => {
  const { journal, commits, tasks } = await waiting(row)
  await tasks.recover()
  expect((await tasks.ended('t1')).commits).toEqual({ input: read, output: made })
  const [work, both] = await tasks.receipts('t1')
  expect(work).toEqual(ofWork)
  expect(verifyReceipt(both)).toMatchObject({
    ...{ valid: true, node: signer.nodeId, task: 't1', work: receiptDigest(ofWork), sequence: 1 },
    commits: { input: read, output: made },
  })
  expect([commits.length, await journal.range(TASK_TABLES.open)]).toEqual([1, []])
})

test('F04 what was committed when the last process ended is not committed again, and gets its receipt', async () => {
  const { journal, commits, tasks } = await waiting(row)
  const moves = [{ ref: made.ref, old: null, new: made.commit }]
  const value = Buffer.from(JSON.stringify({ moves }))
  const writes = [{ table: TABLES.task, key: `t1/${artifact}/0000000002`, value }]
  await journal.append({ type: 'artifact.moved', body: new Uint8Array(0), writes })
  await tasks.recover()
  expect((await tasks.ended('t1')).commits).toEqual({ input: read, output: made })
  expect(commits).toEqual([])
  expect(verifyReceipt((await tasks.receipts('t1'))[1])).toMatchObject({ commits: { output: made } })
})

test('a task that only reads gets a receipt of what it read', async () => {
  const { commits, tasks } = await waiting({ input: read })
  await tasks.recover()
  await tasks.ended('t1')
  expect(verifyReceipt((await tasks.receipts('t1'))[1])).toMatchObject({ valid: true, commits: { input: read } })
  expect(commits).toEqual([])
})

test('what a request with a key was pinned to goes when it is refused, and stays when it is accepted', async () => {
  const journal = new MemoryJournal({ types: TASK_FILES_RECORDS })
  const answers = [new MeshError('E_OVERLOADED', 'Cannot take the task: 1 are under way'), undefined]
  const pinnedAtRun: string[][] = []
  const engine: Partial<Tasks> = {
    run: async () => {
      pinnedAtRun.push(await journal.keys(TASK_TABLES.pin))
      const refused = answers.shift()
      if (refused !== undefined) throw refused
      return { id: 't1', state: 'working' } as unknown as TaskView
    },
    ended: () => new Promise(() => undefined),
  }
  const services: Partial<ArtifactServices> = {
    get: () => Promise.resolve({ id: artifact } as unknown as Awaited<ReturnType<ArtifactServices['get']>>),
    tree: () =>
      Promise.resolve({ commit: read.commit, entries: [] } as unknown as Awaited<ReturnType<ArtifactServices['tree']>>),
  }
  const tasks = tasksOver(engine, services, journal)
  const request = { program: { source: 'export default () => 1' }, artifacts: { input: { artifact } } }
  const caller = { subject: 'local', key: 'again' }
  await expect(tasks.run(request, caller)).rejects.toMatchObject({ code: 'E_OVERLOADED' })
  expect(await journal.keys(TASK_TABLES.pin)).toEqual([])
  await tasks.run(request, caller)
  const pin = pinKey('local', 'again')
  expect([await journal.keys(TASK_TABLES.pin), pinnedAtRun]).toEqual([[pin], [[pin], [pin]]])
})
