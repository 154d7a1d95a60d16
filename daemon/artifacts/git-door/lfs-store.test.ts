import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { MemoryJournal } from '../../journal/memory-journal.ts'
import { forgetFiles } from './forget-files.ts'
import { LFS_RECORDS, LfsStore, type LfsStoreParts } from './lfs-store.ts'

let folder = ''
let files: LfsStore
let journal: MemoryJournal
const used = new Map<string, number>()

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lfs-store-'))
  journal = new MemoryJournal({ types: LFS_RECORDS })
  used.clear()
  const store: LfsStoreParts = {
    repository: (id) => Promise.resolve(join(folder, id)),
    room: (id) => 150 - (used.get(id) ?? 0),
    async countFiles(id, { bytes, fact }) {
      await journal.append(fact)
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
    writeFileSync(join(folder, 'a', 'lfs', oid.slice(0, 2), oid), damaged)
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

it('sweeps what nothing names once it is old, and gives its room back', async () => {
  const [named, old, young] = ['named', 'older', 'young'].map(oidOf)
  for (const text of ['named', 'older', 'young']) await files.put('a', oidOf(text), 5, chunks(text))
  for (const oid of [named, old]) utimesSync(join(folder, 'a', 'lfs', `${oid?.slice(0, 2)}`, `${oid}`), 1, 1)
  await files.want('a', [{ oid: oidOf('other'), size: 1 }])
  await files.sweep('a', (oid) => oid === named, 1_000_000)
  const here = (await files.list('a', 'here')).map(({ oid }) => oid)
  expect(new Set(here)).toEqual(new Set([named, young]))
  expect([await files.list('a', 'wanted'), used.get('a')]).toEqual([[], 10])
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
