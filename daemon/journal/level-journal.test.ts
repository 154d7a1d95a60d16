import { mkdir, mkdtemp, rm, stat, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Journal } from './journal.ts'
import { type LevelJournalOptions, openLevelJournal } from './level-journal.ts'
import { LevelStore } from './level-store.ts'
import { MemoryJournal } from './memory-journal.ts'
import { readMark } from './mark.ts'
import { baseOp } from './open-store.ts'

const types = ['test.happened']
const record = (body: string) => ({
  type: 'test.happened',
  body: Buffer.from(body),
  writes: [{ table: 'seen', key: body, value: Buffer.from(body) }],
})

let root: string
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'manyhands-level-'))
})
afterEach(() => rm(root, { recursive: true }))

function open(options: Partial<LevelJournalOptions> = {}): Promise<Journal> {
  return openLevelJournal({
    folder: join(root, 'node', 'store'),
    markFile: join(root, 'node', 'mark'),
    types,
    ...options,
  })
}

async function blocks(): Promise<number[]> {
  const store = await LevelStore.open(join(root, 'node', 'store'), { create: false })
  const found: number[] = []
  for await (const { first } of store.blocks(0)) found.push(first)
  await store.close()
  return found
}

describe('group commit', () => {
  it('puts the appends of one turn, and those that arrive during a sync, into one batch each', async () => {
    const journal = await open()
    const first = [1, 2, 3].map((n) => journal.append(record(`${n}`)))
    await Promise.resolve()
    first.push(journal.append(record('4')))
    await new Promise((resolve) => setImmediate(resolve))
    // the sync has begun
    await Promise.all([...first, journal.append(record('5')), journal.append(record('6'))])
    await journal.close()
    expect(await blocks()).toEqual([1, 5])
  })

  it('what is appended soon goes with the next batch, in the order of the calls, or by itself after a moment', async () => {
    const batches: number[] = []
    const journal = await open({ onBatch: (records) => batches.push(records) })
    const soon = journal.append(record('1'), 'soon')
    await new Promise((resolve) => setImmediate(resolve))
    expect(await Promise.all([soon, journal.append(record('2'))])).toEqual([1, 2])
    expect(batches).toEqual([2])
    expect(await journal.append(record('3'), 'soon')).toBe(3)
    const last = journal.append(record('4'), 'soon')
    await journal.close()
    expect(await last).toBe(4)
    expect(batches).toEqual([2, 1, 1])
  })

  it('what is appended soon while a batch is written begins none after it', async () => {
    const batches: number[] = []
    const journal = await open({ onBatch: (records) => batches.push(records), limits: { soonMs: 60_000 } })
    const first = journal.append(record('1'))
    await new Promise((resolve) => setImmediate(resolve))
    const soon = journal.append(record('2'), 'soon')
    await first
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve))
    expect(batches).toEqual([1])
    expect(await journal.append(record('3'))).toBe(3)
    expect(await soon).toBe(2)
    expect(batches).toEqual([1, 2])
    await journal.close()
  })

  it('what is appended soon is written also after a batch failed', async () => {
    const journal = await open({ limits: { recoverFirstMs: 1, soonMs: 5 } })
    const failing = Promise.withResolvers<void>()
    const write = vi.spyOn(LevelStore.prototype, 'write').mockReturnValueOnce(failing.promise)
    const first = journal.append(record('1'))
    await expect.poll(() => write.mock.calls.length).toBe(1)
    const soon = journal.append(record('2'), 'soon')
    failing.reject(new Error('the disk is gone'))
    await expect(first).rejects.toMatchObject({ code: 'E_STORAGE' })
    await expect(soon).rejects.toMatchObject({ code: 'E_STORAGE' })
    await new Promise((resolve) => setTimeout(resolve, 20))
    await expect.poll(() => journal.health().state).toBe('ok')
    write.mockRestore()
    expect(await journal.append(record('3'), 'soon')).toBe(1)
    await journal.close()
  })

  it('answered callers that append again at once share the next sync', async () => {
    const journal = await open()
    await Promise.all(
      Array.from({ length: 16 }, async (_, i) => {
        for (let round = 0; round < 5; round++) await journal.append(record(`${i} ${round}`))
      }),
    )
    await journal.close()
    expect(await blocks()).toEqual([1, 17, 33, 49, 65])
  })

  it('refuses what exceeds the queue with E_OVERLOADED and keeps the rest', async () => {
    const journal = await open({ limits: { queueRecords: 10 } })
    const results = await Promise.allSettled(Array.from({ length: 15 }, (_, i) => journal.append(record(`${i}`))))
    expect(results.map((result) => result.status)).toEqual([
      ...Array<string>(10).fill('fulfilled'),
      ...Array<string>(5).fill('rejected'),
    ])
    expect(results[14]).toMatchObject({ reason: { code: 'E_OVERLOADED' } })
    expect(await journal.append(record('later'))).toBe(11)
    await journal.close()
  })

  it('splits a long queue into batches by bytes and count', async () => {
    const journal = await open({ limits: { batchRecords: 4 } })
    await Promise.all(Array.from({ length: 10 }, (_, i) => journal.append(record(`${i}`))))
    await journal.close()
    expect(await blocks()).toEqual([1, 5, 9])
  })
})

describe('over reopening', () => {
  it('keeps records, rows and head; hashes are those of the journal in memory', async () => {
    const memory = new MemoryJournal({ types })
    for (let round = 0; round < 4; round++) {
      const journal = await open()
      expect(journal.head).toBe(round * 10)
      await Promise.all(Array.from({ length: 10 }, (_, i) => journal.append(record(`${round} ${i}`))))
      for (let i = 0; i < 10; i++) await memory.append(record(`${round} ${i}`))
      const hashes = async (of: Journal) => (await of.read(0)).map((each) => Buffer.from(each.hash).toString('hex'))
      expect(await hashes(journal)).toEqual(await hashes(memory))
      expect(await journal.range('seen')).toHaveLength((round + 1) * 10)
      await journal.close()
    }
  })

  it('a clean close leaves a mark that covers everything', async () => {
    const journal = await open()
    for (let i = 0; i < 20; i++) await journal.append(record(`${i}`))
    await journal.close()
    expect(await readMark(join(root, 'node', 'mark'))).toMatchObject({ sequence: 20 })
  })

  it.each([1, 2, 7, 10, 11, 15, 20, 21])('goes on from the base after trim(%s)', async (before) => {
    let journal = await open()
    for (let part = 0; part < 2; part++) {
      await Promise.all(Array.from({ length: 10 }, (_, i) => journal.append(record(`${part} ${i}`))))
    }
    const all = await journal.read(0)
    await journal.trim(before)
    await journal.close()
    expect((await blocks()).every((first) => first >= before)).toBe(true)
    journal = await open()
    expect(await journal.read(0)).toEqual(all.slice(before - 1))
    expect(await journal.append(record('more'))).toBe(21)
    expect(await journal.range('seen')).toHaveLength(21)
    await journal.close()
    journal = await open()
    expect((await journal.read(0)).map((each) => each.sequence)).toEqual(
      Array.from({ length: 22 - before }, (_, i) => before + i),
    )
    await journal.close()
  })

  it('drops what an interrupted trim left', async () => {
    let journal = await open()
    for (let i = 0; i < 6; i++) await journal.append(record(`${i}`))
    const base = (await journal.read(3, 1))[0]
    await journal.close()
    const store = await LevelStore.open(join(root, 'node', 'store'), { create: false })
    await store.write([baseOp({ sequence: 3, hash: base?.hash ?? new Uint8Array(32) })])
    await store.close()
    journal = await open()
    expect((await journal.read(0)).map((each) => each.sequence)).toEqual([4, 5, 6])
    await journal.close()
    expect(await blocks()).toEqual([4, 5, 6])
  })
})

it('nobody else may read its files', async () => {
  await (await open()).close()
  expect((await stat(join(root, 'node', 'store'))).mode & 0o077).toBe(0)
  expect((await stat(join(root, 'node', 'mark'))).mode & 0o077).toBe(0)
})

it('close() waits for a trim and appends under way, and may be called twice', async () => {
  const journal = await open()
  await Promise.all([journal.append(record('a')), journal.append(record('b'))])
  const trimmed = journal.trim(2)
  const appended = journal.append(record('c'))
  await Promise.all([journal.close(), journal.close()])
  expect(await appended).toBe(3)
  await trimmed
})

it('tells of each batch how many records it held and how long its sync took', async () => {
  const batches: (readonly [number, number])[] = []
  const journal = await open({ onBatch: (records, seconds) => batches.push([records, seconds]) })
  await Promise.all(['a', 'b', 'c'].map((body) => journal.append(record(body))))
  await journal.append(record('d'))
  await journal.close()
  expect(batches.map(([records]) => records)).toEqual([3, 1])
  expect(batches.every(([, seconds]) => seconds > 0 && seconds < 60)).toBe(true)
})

it('an opening that is ended before it has read all is none, and leaves nothing locked', async () => {
  let journal = await open()
  await journal.append(record('a'))
  await journal.close()
  const reason = new Error('asked to stop')
  await expect(open({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  journal = await open()
  expect(journal.head).toBe(1)
  await journal.close()
})

it('a sync that does not return shows in health(), and a jump of the wall clock during one does not', async () => {
  let [now, elapsed] = [1_000, 0]
  const journal = await open({ now: () => now, monotonic: () => elapsed })
  const appended = journal.append(record('a'))
  await new Promise((resolve) => setImmediate(resolve))
  now += 3_600_000
  expect(journal.health()).toEqual({ state: 'ok' })
  now = 7_000
  elapsed += 6_000
  expect(journal.health()).toEqual({ state: 'failing', since: 1_000, reason: 'the disk does not answer' })
  await appended
  expect(journal.health()).toEqual({ state: 'ok' })
  await journal.close()
})

it('opens a journal of many thousand records', async () => {
  let journal = await open()
  await Promise.all(
    Array.from({ length: 20_000 }, (_, i) => journal.append({ type: 'test.happened', body: Buffer.alloc(256, i) })),
  )
  await journal.close()
  journal = await open()
  expect(journal.head).toBe(20_000)
  await journal.close()
})

it('says what the disk said, and where, when it cannot be opened', async () => {
  const folder = join(root, 'node', 'store')
  await mkdir(folder, { recursive: true })
  // The first file that LevelDB writes in a new store
  await symlink('/dev/full', join(folder, 'MANIFEST-000001'))
  await expect(open()).rejects.toMatchObject({
    code: 'E_STORAGE',
    message: `Cannot open the journal in ${folder}: its disk is full`,
    hint: expect.stringContaining('start again') as unknown,
  })
})
