import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { MemoryJournal } from '../../journal/memory-journal.ts'
import { LFS_RECORDS, LfsStore } from './lfs-store.ts'
import { DOOR_LIMITS } from './limits.ts'

let folder = ''
let files: LfsStore

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lfs-store-'))
  const journal = new MemoryJournal({ types: LFS_RECORDS })
  const limits = { ...DOOR_LIMITS, lfsObjectBytes: 100, lfsBytes: 150 }
  files = new LfsStore({ repository: (id) => Promise.resolve(join(folder, id)) }, journal, limits)
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const oidOf = (content: string): string => createHash('sha256').update(content).digest('hex')
async function* chunks(...parts: string[]): AsyncGenerator<Buffer> {
  for (const part of parts) yield await Promise.resolve(Buffer.from(part))
}
async function textOf(artifact: string, oid: string): Promise<string> {
  const { stream } = await files.read(artifact, oid)
  let text = ''
  for await (const chunk of stream) text += String(chunk)
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
  writeFileSync(join(folder, 'a', 'lfs', oid.slice(0, 2), oid), 'hell')
  await expect(files.read('a', oid)).rejects.toMatchObject({ code: 'E_STORAGE' })
  await files.forget('a')
  expect(files.size('a', oid)).toBeUndefined()
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
  await files.forget('a')
  expect(files.refusal('a', 100)).toBeUndefined()
})
