import { closeSync, openSync, writeSync } from 'node:fs'
import { appendFile, cp, mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { beforeAll, describe, expect, it } from 'vitest'
import { MeshError } from '../../protocol/errors.ts'
import { openLevelJournal } from '../../daemon/journal/level-journal.ts'
import { LevelStore } from '../../daemon/journal/level-store.ts'
import { readMark } from '../../daemon/journal/mark.ts'
import { encodeBlock } from '../../daemon/journal/record.ts'
import { decodeRow, encodeRow } from '../../daemon/journal/row.ts'
import { blockKey, STORE_KEY } from '../../daemon/journal/store-keys.ts'
import {
  closedJournal,
  contents,
  copyOf,
  fill,
  flip,
  indexRecord,
  largest,
  openAt,
  place,
  seeded,
  spawnWriter,
  storeFiles,
  temporaryRoot,
  WRITER_TYPES,
} from './journal-support.ts'

const COUNT = 1200
const LOGGED = 400
/** Written once; every test damages a copy */
let sound: string
beforeAll(async () => {
  sound = await mkdtemp(join(tmpdir(), 'manyhands-journal-'))
  await closedJournal(sound, COUNT, LOGGED)
  return () => rm(sound, { recursive: true, force: true })
})

async function refusal(root: string, options = {}): Promise<MeshError> {
  try {
    await (await openAt(root, options)).close()
  } catch (error) {
    if (error instanceof MeshError) return error
    throw error
  }
  throw new Error('it was not refused')
}

/** Refused now and each time after: opening must not "repair" it into something that passes. */
async function expectRefused(root: string, code: string): Promise<MeshError> {
  const first = await refusal(root)
  expect(first.code).toBe(code)
  expect(first.message + first.hint).not.toContain(root)
  await refusal(root)
  return first
}

it('the sound journal opens whole', async () => {
  const root = await copyOf(sound)
  expect(await storeFiles(root, /\.ldb$/)).not.toHaveLength(0)
  const journal = await openAt(root)
  expect((await contents(journal)).records).toHaveLength(COUNT)
  await journal.close()
})

it('JRN-02: 16 flipped bytes in the middle of the log are refused, naming the first missing record', async () => {
  const root = await copyOf(sound)
  const log = await largest(await storeFiles(root, /\.log$/))
  await flip(log, Math.floor((await stat(log)).size / 2), 16)
  const error = await expectRefused(root, 'E_JOURNAL_GAP')
  const sequence = error.details?.sequence
  // batches of 10, the log holds the last 400 records
  expect(sequence).toBeGreaterThan(COUNT - LOGGED + 1)
  expect(sequence).toBeLessThan(COUNT)
  expect(Number(sequence) % 10).toBe(1)
})

describe('JRN-03: a lost root is refused and no new store is made', () => {
  it.each([
    ['CURRENT', /^CURRENT$/],
    ['MANIFEST', /^MANIFEST/],
    ['everything in the folder', /./],
  ])('%s', async (_, name) => {
    const root = await copyOf(sound)
    for (const path of await storeFiles(root, name)) await rm(path)
    const left = (await readdir(place(root).folder)).filter((each) => !/^(LOCK|LOG)/.test(each))
    await expectRefused(root, 'E_JOURNAL_LOST')
    const now = (await readdir(place(root).folder)).filter((each) => !/^(LOCK|LOG)/.test(each))
    expect(now).toEqual(left)
  })

  it('the folder', async () => {
    const root = await copyOf(sound)
    await rm(place(root).folder, { recursive: true })
    await expectRefused(root, 'E_JOURNAL_LOST')
    await expect(stat(place(root).folder)).rejects.toMatchObject({ code: 'ENOENT' })
  })

  it('folder and mark, when the caller knows that there was one', async () => {
    expect((await refusal(await temporaryRoot(), { create: false })).code).toBe('E_JOURNAL_LOST')
  })

  it('another, empty store in its place', async () => {
    const root = await copyOf(sound)
    const other = await temporaryRoot()
    await (await openAt(other)).close()
    await rm(place(root).folder, { recursive: true })
    await cp(place(other).folder, place(root).folder, { recursive: true })
    await expectRefused(root, 'E_JOURNAL_LOST')
  })

  it('a start that was cut short before the mark is finished by the next', async () => {
    const root = await temporaryRoot()
    await (await openAt(root)).close()
    await rm(place(root).markFile)
    const journal = await openAt(root)
    await fill(journal, 10)
    await journal.close()
    const partial = await temporaryRoot()
    await mkdir(place(partial).folder)
    await writeFile(join(place(partial).folder, 'MANIFEST-000001'), 'begun')
    await (await openAt(partial)).close()
  })
})

describe('JRN-04: a table that is gone or damaged is refused', () => {
  it('deleted', async () => {
    const root = await copyOf(sound)
    await rm(await largest(await storeFiles(root, /\.ldb$/)))
    await expectRefused(root, 'E_JOURNAL_GAP')
  })

  it('one bit flipped', async () => {
    const random = seeded(4)
    for (let round = 0; round < 8; round++) {
      const root = await copyOf(sound)
      const table = await largest(await storeFiles(root, /\.ldb$/))
      await flip(table, Math.floor(random() * ((await stat(table)).size - 48)), 1, 1 << Math.floor(random() * 8))
      expect((await refusal(root)).code).toBe('E_JOURNAL_GAP')
    }
  })
})

it('JRN-05: a bit that rots in an uncompressed table while it is open is never returned as a value', async () => {
  const root = await copyOf(sound)
  // the first open after a close moves the log into a table
  await (await openAt(root)).close()
  const journal = await openAt(root)
  for (const table of await storeFiles(root, /\.ldb$/)) {
    const bytes = await readFile(table)
    // in place: the store has the file mapped
    const file = openSync(table, 'r+')
    for (let index = 0; index < COUNT; index++) {
      const value = Buffer.from(`${index}`.padEnd(100, '.'))
      for (let at = bytes.indexOf(value); at >= 0; at = bytes.indexOf(value, at + 1)) writeSync(file, '!', at + 50)
    }
    closeSync(file)
  }
  let damaged = 0
  for (let index = 0; index < COUNT; index++) {
    try {
      const value = journal.get('seen', `${index}`)
      expect(Buffer.from(value ?? []).toString()).toBe(`${index}`.padEnd(100, '.'))
    } catch (error) {
      expect(error).toMatchObject({ code: 'E_JOURNAL_GAP' })
      damaged += 1
    }
  }
  expect(damaged).toBeGreaterThan(COUNT / 2)
  await expect(journal.range('seen', { limit: 10_000 })).rejects.toMatchObject({ code: 'E_JOURNAL_GAP' })
  await expect(journal.read(1, 10_000)).rejects.toMatchObject({ code: 'E_JOURNAL_GAP' })
  await journal.close()
})

describe('JRN-06: an older copy is refused', () => {
  it("yesterday's folder under today's mark", async () => {
    const root = await copyOf(sound)
    const yesterday = await copyOf(sound)
    const journal = await openAt(root)
    await fill(journal, 1)
    await journal.close()
    await rm(place(root).folder, { recursive: true })
    await cp(place(yesterday).folder, place(root).folder, { recursive: true })
    const error = await expectRefused(root, 'E_JOURNAL_ROLLBACK')
    expect(error.details).toEqual({ head: COUNT, acknowledged: COUNT + 1 })
  })

  it("yesterday's folder that went on by itself", async () => {
    const [today, fork] = [await copyOf(sound), await copyOf(sound)]
    for (const [root, index] of [
      [today, 5000],
      [fork, 6000],
    ] as const) {
      const journal = await openAt(root)
      for (let i = 0; i < 3; i++) await journal.append(indexRecord(index + i))
      await journal.close()
    }
    await rm(place(today).folder, { recursive: true })
    await cp(place(fork).folder, place(today).folder, { recursive: true })
    await expectRefused(today, 'E_JOURNAL_ROLLBACK')
  })

  it("yesterday's mark under today's folder is refused once records it vouched for were trimmed", async () => {
    const root = await copyOf(sound)
    const yesterday = await readFile(place(root).markFile)
    const journal = await openAt(root)
    await fill(journal, 20)
    await journal.trim(COUNT + 10)
    await journal.close()
    await writeFile(place(root).markFile, yesterday)
    await expectRefused(root, 'E_JOURNAL_GAP')
  })
})

describe('JRN-07: a journal has one owner', () => {
  it('in one process', async () => {
    const root = await temporaryRoot()
    const journal = await openAt(root)
    expect((await refusal(root)).code).toBe('E_JOURNAL_LOCKED')
    await fill(journal, 10)
    await journal.close()
    await (await openAt(root)).close()
  })

  it('between processes, until the other one dies', async () => {
    const root = await temporaryRoot()
    const writer = spawnWriter(root)
    await writer.ready
    expect((await refusal(root)).code).toBe('E_JOURNAL_LOCKED')
    writer.process.kill('SIGKILL')
    await writer.ended
    await (await openAt(root)).close()
  })
})

describe('JRN-10: what a newer version wrote is refused, never skipped', () => {
  /** Puts a block after the head, past the journal. */
  async function plant(root: string, block: Uint8Array): Promise<void> {
    const store = await LevelStore.open(place(root).folder, { create: false })
    await store.write([{ type: 'put', key: blockKey(COUNT + 1), value: block }])
    await store.close()
  }

  it('an unknown type', async () => {
    const root = await copyOf(sound)
    const newer = await openLevelJournal({ ...place(root), types: [...WRITER_TYPES, 'new.kind'] })
    await fill(newer, 5)
    await newer.append({ type: 'new.kind', body: new Uint8Array() })
    await fill(newer, 5)
    await newer.close()
    const error = await expectRefused(root, 'E_JOURNAL_VERSION')
    expect(error.details).toEqual({ sequence: COUNT + 6 })
  })

  it.each([
    ['a sound record of format version 2', 2, 'E_JOURNAL_VERSION'],
    ['a sound record of format version 0', 0, 'E_JOURNAL_GAP'],
  ])('%s', async (_, version, code) => {
    const root = await copyOf(sound)
    const mark = await readMark(place(root).markFile)
    if (mark === undefined) throw new Error('no mark')
    const bytes = Buffer.from(encodeBlock([indexRecord(COUNT)], mark).block)
    bytes[8] = version
    bytes.writeUInt32BE(crc32(bytes.subarray(8)), 4)
    await plant(root, bytes)
    const error = await expectRefused(root, code)
    expect(error.details).toEqual({ sequence: COUNT + 1 })
  })

  it('a store whose layout has version 2', async () => {
    const root = await copyOf(sound)
    const store = await LevelStore.open(place(root).folder, { create: false })
    const identity = decodeRow(STORE_KEY, store.get(STORE_KEY) ?? new Uint8Array())
    identity[0] = 2
    await store.write([{ type: 'put', key: STORE_KEY, value: encodeRow(STORE_KEY, identity) }])
    await store.close()
    await expectRefused(root, 'E_JOURNAL_VERSION')
  })

  it('a record of 100 MB', async () => {
    const root = await copyOf(sound)
    const mark = await readMark(place(root).markFile)
    if (mark === undefined) throw new Error('no mark')
    const record = { type: 'test.happened', body: new Uint8Array(100 << 20) }
    const journal = await openAt(root)
    await expect(journal.append(record)).rejects.toMatchObject({ code: 'E_TOO_LARGE' })
    await journal.close()
    await plant(root, encodeBlock([record], mark).block)
    const error = await refusal(root)
    expect(error.code).toBe('E_JOURNAL_GAP')
    expect(error.details).toEqual({ sequence: COUNT + 1 })
  })
})

describe('F21: a torn end', () => {
  it('of acknowledged records is refused', async () => {
    for (const bytes of [1, 7, 100, 1000, 4096]) {
      const root = await copyOf(sound)
      const log = await largest(await storeFiles(root, /\.log$/))
      await truncate(log, (await stat(log)).size - bytes)
      const error = await expectRefused(root, 'E_JOURNAL_ROLLBACK')
      expect(error.details).toMatchObject({ acknowledged: COUNT })
    }
  })

  it('of a record that was never acknowledged is dropped', async () => {
    const longer = await copyOf(sound)
    const journal = await openAt(longer)
    const before = await readFile(place(longer).markFile)
    await journal.append(indexRecord(COUNT))
    await journal.close()
    const log = await largest(await storeFiles(longer, /\.log$/))
    const { size } = await stat(log)
    for (let bytes = 1; bytes < size; bytes += 61) {
      const root = await copyOf(longer)
      await writeFile(place(root).markFile, before)
      await truncate(await largest(await storeFiles(root, /\.log$/)), size - bytes)
      const torn = await openAt(root)
      expect((await contents(torn)).records).toHaveLength(COUNT)
      expect(await torn.append(indexRecord(COUNT))).toBe(COUNT + 1)
      await torn.close()
      const again = await openAt(root)
      expect((await contents(again)).records).toHaveLength(COUNT + 1)
      await again.close()
    }
  })

  it('of garbage after the last record is dropped', async () => {
    const root = await copyOf(sound)
    await appendFile(await largest(await storeFiles(root, /\.log$/)), Buffer.alloc(3000, 0xa5))
    const journal = await openAt(root)
    expect((await contents(journal)).records).toHaveLength(COUNT)
    await journal.close()
  })
})

describe('F22: flipped bytes in each kind of file are harmless or refused, never a silent loss', () => {
  it.each([
    ['log', /\.log$/, 12],
    ['table', /\.ldb$/, 12],
    ['MANIFEST', /^MANIFEST/, 12],
    ['CURRENT', /^CURRENT$/, 8],
    ['mark', undefined, 8],
  ])('%s', async (_, name, rounds) => {
    const random = seeded(22)
    let refused = 0
    for (let round = 0; round < rounds; round++) {
      const root = await copyOf(sound)
      const path = name === undefined ? place(root).markFile : await largest(await storeFiles(root, name))
      const { size } = await stat(path)
      const span = name === undefined ? 76 : size
      await flip(path, Math.floor(random() * span), 1 + Math.floor(random() * 16), 1 << Math.floor(random() * 8))
      const journal = await openAt(root).catch((error: unknown) => {
        if (!(error instanceof MeshError)) throw error
        expect(error.code).toMatch(/^E_JOURNAL_(GAP|LOST|ROLLBACK|VERSION)$/)
        refused += 1
        return undefined
      })
      if (journal === undefined) continue
      expect((await contents(journal)).records).toHaveLength(COUNT)
      await journal.close()
    }
    // one damaged slot of the mark is what it has two for
    if (name !== undefined) expect(refused).toBeGreaterThan(rounds / 2)
  })

  it('both slots of the mark', async () => {
    const root = await copyOf(sound)
    await flip(place(root).markFile, 40)
    await flip(place(root).markFile, 4096 + 40)
    await expectRefused(root, 'E_JOURNAL_GAP')
  })
})

describe('F23: deleting each kind of file is harmless or refused', () => {
  it.each([
    ['the mark', undefined, 'E_JOURNAL_LOST'],
    ['the log', /\.log$/, 'E_JOURNAL_ROLLBACK'],
    ['all tables', /\.ldb$/, 'E_JOURNAL_GAP'],
    ['MANIFEST', /^MANIFEST/, 'E_JOURNAL_LOST'],
    ['CURRENT', /^CURRENT$/, 'E_JOURNAL_LOST'],
  ])('%s', async (_, name, code) => {
    const root = await copyOf(sound)
    for (const path of name === undefined ? [place(root).markFile] : await storeFiles(root, name)) await rm(path)
    await expectRefused(root, code)
  })

  it('the mark and CURRENT together', async () => {
    const root = await copyOf(sound)
    await rm(place(root).markFile)
    await rm(join(place(root).folder, 'CURRENT'))
    await expectRefused(root, 'E_JOURNAL_LOST')
  })

  it('lock and text log, which hold nothing', async () => {
    const root = await copyOf(sound)
    for (const path of await storeFiles(root, /^(LOCK|LOG)/)) await rm(path)
    const journal = await openAt(root)
    expect((await contents(journal)).records).toHaveLength(COUNT)
    await journal.close()
  })
})
