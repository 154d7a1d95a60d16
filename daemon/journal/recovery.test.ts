import { cp, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { NewRecord } from './journal.ts'
import { openLevelJournal } from './level-journal.ts'
import { LevelStore } from './level-store.ts'
import { type Mark, readMark } from './mark.ts'
import { type ChainPoint, encodeBlock } from './record.ts'
import { type RecoveryInput, recover, type RefusedBatch, systemReason } from './recovery.ts'
import { encodeRow } from './row.ts'
import { blockKey, rowKey } from './store-keys.ts'

const types = new Set(['test.happened'])
const record = (key: string, value: string): NewRecord => ({
  type: 'test.happened',
  body: Buffer.from(value),
  writes: [{ table: 'seen', key, value: Buffer.from(value) }],
})

let root: string
let place: { folder: string; markFile: string }
/** A copy of the store from before the batch that was refused: what the failed handle shows */
let before: string
let mark: Mark
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'manyhands-recovery-'))
  place = { folder: join(root, 'store'), markFile: join(root, 'mark') }
  before = join(root, 'before')
  const journal = await openLevelJournal({ ...place, types })
  for (let i = 0; i < 30; i++) await journal.append(record(`${i}`, 'old'))
  await journal.close()
  // the second start moves the log into a table
  await (await openLevelJournal({ ...place, types })).close()
  await cp(place.folder, before, { recursive: true })
  const read = await readMark(place.markFile)
  if (read === undefined) throw new Error('no mark')
  mark = read
})
afterEach(() => rm(root, { recursive: true }))

/** Puts a batch of one record into the store behind the failed handle's back. */
async function refusedBatch(last: ChainPoint): Promise<RefusedBatch> {
  const fact = record('3', 'new')
  const { block, head } = encodeBlock([fact, fact], last)
  const rows = [rowKey('seen', '3'), rowKey('seen', 'extra')]
  const store = await LevelStore.open(place.folder, { create: false })
  await store.write([
    { type: 'put', key: blockKey(31), value: block },
    ...rows.map((key) => ({ type: 'put' as const, key, value: encodeRow(key, Buffer.from('new')) })),
  ])
  await store.close()
  return { first: 31, head, rows }
}

async function input(more: Partial<RecoveryInput> = {}): Promise<{ input: RecoveryInput; reasons: string[] }> {
  const reasons: string[] = []
  const store = await LevelStore.open(before, { create: false })
  const fixed = { place, types, store, mark, acknowledged: mark, refused: undefined, pauseMs: { first: 1, last: 10 } }
  const signal = new AbortController().signal
  return { input: { ...fixed, signal, onReason: (reason) => reasons.push(reason), ...more }, reasons }
}

async function reopened(): Promise<Record<string, string | undefined> & { head: string }> {
  const journal = await openLevelJournal({ ...place, types })
  const text = (key: string) => Buffer.from(journal.get('seen', key) ?? 'absent').toString()
  const found = { head: `${journal.head}`, '3': text('3'), extra: text('extra') }
  await journal.close()
  return found
}

async function end(outcome: Awaited<ReturnType<typeof recover>>): Promise<void> {
  await outcome?.writer.close()
  await outcome?.store.close()
}

describe('recover()', () => {
  it('takes a refused batch that is on disk out again and puts its rows back', async () => {
    const refused = await refusedBatch(mark)
    const outcome = await recover((await input({ refused })).input)
    expect(outcome).toBeDefined()
    await end(outcome)
    expect(await reopened()).toEqual({ head: '30', '3': 'old', extra: 'absent' })
  })

  it('leaves rows alone when the refused batch never reached the disk', async () => {
    const refused = { first: 31, head: { sequence: 32, hash: new Uint8Array(32) }, rows: [rowKey('seen', '3')] }
    await end(await recover((await input({ refused })).input))
    expect(await reopened()).toEqual({ head: '30', '3': 'old', extra: 'absent' })
  })

  it('gives up when records are there that were never written', async () => {
    const { head, ...refused } = await refusedBatch(mark)
    for (const claimed of [undefined, { ...refused, head: { ...head, hash: new Uint8Array(32) } }]) {
      const { input: given, reasons } = await input({ refused: claimed })
      expect(await recover(given)).toBeUndefined()
      expect(reasons.at(-1)).toContain('never written, first at record 31')
    }
  })

  it('gives up when the store is damaged and says so', async () => {
    const table = (await readdir(place.folder)).find((name) => name.endsWith('.ldb'))
    const path = join(place.folder, table ?? '')
    const bytes = await readFile(path)
    bytes[100] = (bytes[100] ?? 0) ^ 1
    await writeFile(path, bytes)
    const { input: given, reasons } = await input()
    expect(await recover(given)).toBeUndefined()
    expect(reasons).toEqual(['Cannot trust the journal: a table of the store is damaged'])
  })

  it('gives up when acknowledged records are gone', async () => {
    const { input: given, reasons } = await input({ acknowledged: { sequence: 31, hash: new Uint8Array(32) } })
    expect(await recover(given)).toBeUndefined()
    expect(reasons.at(-1)).toContain('ends at record 30, but everything up to 31 was acknowledged')
  })

  it('tries until the disk is back', async () => {
    await rename(place.folder, join(root, 'unplugged'))
    const { input: given, reasons } = await input()
    const outcome = recover(given)
    await expect.poll(() => reasons.length, { timeout: 10_000 }).toBeGreaterThan(2)
    expect(new Set(reasons)).toEqual(new Set(['its files cannot be used']))
    expect(given.store.get(rowKey('seen', '3'))).toBeDefined()
    await rename(join(root, 'unplugged'), place.folder)
    await end(await outcome)
    expect(await reopened()).toMatchObject({ head: '30' })
  })

  it('tries until another process lets go of the store', async () => {
    const other = await LevelStore.open(place.folder, { create: false })
    const { input: given, reasons } = await input()
    const outcome = recover(given)
    await expect.poll(() => reasons.length, { timeout: 10_000 }).toBeGreaterThan(0)
    await other.close()
    await end(await outcome)
    expect(await reopened()).toMatchObject({ head: '30' })
  })

  it('ends when it is told to', async () => {
    const stop = new AbortController()
    const { input: given } = await input({ signal: stop.signal, pauseMs: { first: 60_000, last: 60_000 } })
    const outcome = recover(given)
    stop.abort()
    expect(await outcome).toBeUndefined()
    await given.store.close()
  })
})

it('systemReason() says what a disk said, without paths', () => {
  const withCode = (code: string) => Object.assign(new Error(`${code}: /home/x/secret`), { code })
  expect(systemReason(withCode('ENOSPC'))).toBe('its disk is full')
  expect(systemReason(withCode('EIO'))).toBe('its disk reports an I/O error')
  expect(systemReason(withCode('ENXIO'))).toBe('its files cannot be used')
  expect(systemReason(new Error('IO error: /home/x/000003.log: No space left on device'))).toBe('its disk is full')
  expect(systemReason(new Error('IO error: /home/x/000003.log: Input/output error'))).toBe(
    'its disk reports an I/O error',
  )
  expect(systemReason(new TypeError('not a function'))).toBeUndefined()
})
