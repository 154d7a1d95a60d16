import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readdirSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { MeshError } from '../../../protocol/errors.ts'
import { MemoryJournal } from '../../journal/memory-journal.ts'
import { forgetFiles } from './forget-files.ts'
import { DEFAULT_QUOTAS, Usage } from '../store/usage.ts'
import { LFS_RECORDS, LfsStore, type LfsStoreParts } from './lfs-store.ts'

let folder = ''
let files: LfsStore
let journal: MemoryJournal
const used = new Map<string, number>()
/** Passed before a file is counted for the artifact */
const turns = new Map<string, () => Promise<void>>()

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lfs-store-'))
  journal = new MemoryJournal({ types: LFS_RECORDS })
  const usage = new Usage(journal, { ...DEFAULT_QUOTAS, artifactBytes: 150, nodeBytes: 250 })
  used.clear()
  turns.clear()
  const store: LfsStoreParts = {
    repository: (id) => Promise.resolve(join(folder, id)),
    room: (id) => usage.room({ id, agent: undefined }, used.get(id) ?? 0),
    reserve: (id, bytes) => usage.reserve({ id, agent: undefined }, bytes),
    async countFiles(id, { bytes, fact }) {
      await turns.get(id)?.()
      await usage.during({ artifacts: 0, bytes }, used.get(id) ?? 0, (rows) =>
        journal.append({ ...fact, writes: [...fact.writes, ...rows()] }),
      )
      used.set(id, (used.get(id) ?? 0) + bytes)
    },
  }
  files = new LfsStore(store, journal, { lfsObjectBytes: 100 })
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const oidOf = (content: string): string => createHash('sha256').update(content).digest('hex')
async function* chunks(...parts: string[]): AsyncGenerator<Buffer> {
  for (const part of parts) yield await Promise.resolve(Buffer.from(part))
}
async function textOf(artifact: string, oid: string): Promise<string> {
  const { chunks } = await files.read(artifact, oid)
  let text = ''
  for await (const chunk of chunks) text += String(chunk)
  return text
}
const pathOf = (artifact: string, oid: string): string => join(folder, artifact, 'lfs', oid.slice(0, 2), oid)
const left = (): string[] => readdirSync(join(folder, 'a', 'lfs', 'incoming'))

it('keeps a file under its hash, for its artifact alone', async () => {
  const oid = oidOf('hello')
  await files.put('a', oid, 5, chunks('he', 'llo'))
  expect(files.size('a', oid)).toBe(5)
  expect(await textOf('a', oid)).toBe('hello')
  expect(files.size('b', oid)).toBeUndefined()
  await expect(files.read('b', oid)).rejects.toMatchObject({ code: 'E_NOT_FOUND' })
  await files.share('b', oid, 'a')
  expect([await textOf('b', oid), used.get('b')]).toEqual(['hello', 5])
  await forgetFiles(journal, 'a')
  expect([files.size('a', oid), files.size('b', oid)]).toEqual([undefined, 5])
})

it.each(['hell', 'jello'])(
  'F22 what is damaged on disk ("%s") is served as no file, and wanted again',
  async (damaged) => {
    const oid = oidOf('hello')
    await files.put('a', oid, 5, chunks('hello'))
    writeFileSync(pathOf('a', oid), damaged)
    await expect(textOf('a', oid)).rejects.toMatchObject({ code: 'E_STORAGE' })
    expect([files.size('a', oid), await files.list('a', 'wanted'), used.get('a')]).toEqual([
      undefined,
      [{ oid, size: 5 }],
      0,
    ])
    await files.put('a', oid, 5, chunks('hello'))
    expect([await textOf('a', oid), await files.list('a', 'wanted')]).toEqual(['hello', []])
  },
)

it('F22 a file that cannot be looked at now is not damaged', async () => {
  const oid = oidOf('hello')
  await files.put('a', oid, 5, chunks('hello'))
  rmSync(pathOf('a', oid))
  symlinkSync(pathOf('a', oid), pathOf('a', oid))
  await expect(files.read('a', oid)).rejects.toMatchObject({ code: 'E_STORAGE' })
  await expect(files.sweep('a', () => false, Date.now())).rejects.toMatchObject({ code: 'E_STORAGE' })
  expect([files.size('a', oid), await files.list('a', 'wanted'), used.get('a')]).toEqual([5, [], 5])
})

it('F22 a damaged file is dropped once, and never the sound one that replaced it', async () => {
  const oid = oidOf('hello')
  const slow = async (): Promise<() => Promise<void>> => {
    const reading = (await files.read('a', oid)).chunks[Symbol.asyncIterator]()
    await reading.next()
    return () => expect(reading.next()).rejects.toMatchObject({ code: 'E_STORAGE' })
  }
  await files.put('a', oid, 5, chunks('hello'))
  writeFileSync(pathOf('a', oid), 'jello')
  const [late, ...atOnce] = [await slow(), await slow(), await slow()]
  await Promise.all(atOnce.map((end) => end()))
  expect([files.size('a', oid), used.get('a')]).toEqual([undefined, 0])
  await files.put('a', oid, 5, chunks('hello'))
  await late()
  expect([await textOf('a', oid), await files.list('a', 'wanted'), used.get('a')]).toEqual(['hello', [], 5])
})

it('sweeps what nothing names once it is old, and gives its room back', async () => {
  const [named, old, young] = ['named', 'older', 'young'].map(oidOf)
  for (const text of ['named', 'older', 'young']) await files.put('a', oidOf(text), 5, chunks(text))
  for (const oid of [named, old]) utimesSync(pathOf('a', `${oid}`), 1, 1)
  await files.want('a', [{ oid: oidOf('other'), size: 1 }])
  await files.sweep('a', (oid) => oid === named, 1_000_000)
  const here = (await files.list('a', 'here')).map(({ oid }) => oid)
  expect(new Set(here)).toEqual(new Set([named, young]))
  expect([await files.list('a', 'wanted'), used.get('a')]).toEqual([[], 10])
})

it('notes any number of files that are wanted, and what goes with them after the last', async () => {
  const wanted = Array.from({ length: 2_500 }, (_, index) => ({ oid: oidOf(`${index}`), size: index }))
  const more = { table: 'other', key: 'row', value: Buffer.from('1') }
  const seen: number[] = []
  const append = journal.append.bind(journal)
  journal.append = (record) => {
    seen.push((record.writes ?? []).findIndex(({ table }) => table === more.table))
    return append(record)
  }
  expect(await files.want('a', wanted, [more])).toBe(2_500)
  expect(await files.list('a', 'wanted', undefined, 10_000)).toHaveLength(2_500)
  expect(seen).toEqual([-1, -1, 500])
})

it('keeps nothing of one that is not what it is called, too short, too long or cut', async () => {
  const oid = oidOf('hello')
  await expect(files.put('a', oid, 5, chunks('jello'))).rejects.toMatchObject({ code: 'E_SIGNATURE' })
  await expect(files.put('a', oid, 6, chunks('hello'))).rejects.toMatchObject({ code: 'E_SIGNATURE' })
  await expect(files.put('a', oid, 4, chunks('hello'))).rejects.toMatchObject({ code: 'E_TOO_LARGE' })
  async function* cut(): AsyncGenerator<Buffer> {
    yield* chunks('he')
    throw new Error('cut')
  }
  await expect(files.put('a', oid, 5, cut())).rejects.toThrow('cut')
  expect([files.size('a', oid), left()]).toEqual([undefined, []])
})

it('holds an artifact to its quota, also when several come at once', async () => {
  expect(files.refusal('a', 101)).toMatchObject({ code: 'E_TOO_LARGE' })
  const [one, two] = ['1', '2'].map((digit) => digit.repeat(80))
  const both = await Promise.allSettled([one, two].map((text = '') => files.put('a', oidOf(text), 80, chunks(text))))
  expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
  expect(files.refusal('a', 71)).toMatchObject({ code: 'E_QUOTA' })
  expect(files.refusal('a', 70)).toBeUndefined()
})

it('keeps no file that it could not count, and no other artifact waits for one whose turn does not come', async () => {
  const { promise: reached, resolve: reach } = Promise.withResolvers<void>()
  const { promise: collected, resolve: end } = Promise.withResolvers<void>()
  turns.set('a', async () => {
    reach()
    await collected
    throw new MeshError('E_TIMEOUT', 'its turn did not come')
  })
  const oid = oidOf('hello')
  const waiting = files.put('a', oid, 5, chunks('hello'))
  await reached
  await files.put('b', oid, 5, chunks('hello'))
  expect([files.size('b', oid), files.size('a', oid), existsSync(pathOf('a', oid))]).toEqual([5, undefined, true])
  end()
  await expect(waiting).rejects.toMatchObject({ code: 'E_TIMEOUT' })
  expect([existsSync(pathOf('a', oid)), left(), files.refusal('a', 100)]).toEqual([false, [], undefined])
})

it('holds the node to its quota, also when files for several artifacts come at once', async () => {
  const texts = ['a', 'b', 'c', 'd'].map((id) => [id, id.repeat(100)] as const)
  const all = await Promise.allSettled(texts.map(([id, text]) => files.put(id, oidOf(text), 100, chunks(text))))
  expect(all.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected', 'rejected'])
  // refused before a byte was taken
  expect(['c', 'd'].map((id) => existsSync(join(folder, id)))).toEqual([false, false])
  expect([files.refusal('c', 51)?.code, files.refusal('c', 50)]).toEqual(['E_QUOTA', undefined])
})

it('sweeps a file that was never counted, once it is old', async () => {
  const oid = oidOf('hello')
  await files.put('a', oid, 5, chunks('hello'))
  const [old, young] = ['older', 'young'].map((text) => pathOf('a', `${oid.slice(0, 2)}${oidOf(text).slice(2)}`))
  for (const path of [old, young]) writeFileSync(`${path}`, 'left by a crash')
  utimesSync(`${old}`, 1, 1)
  await files.sweep('a', () => true, 1_000_000)
  expect([old, young, pathOf('a', oid)].map((path) => existsSync(`${path}`))).toEqual([false, true, true])
})
