import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { EarlySync } from './early-sync.ts'

const MIB = 1 << 20
const turns = () => new Promise((resolve) => setTimeout(resolve, 20))
let objects: string
let synced: string[]
let finish: ((error?: Error) => void)[]
beforeEach(async () => {
  objects = await mkdtemp(join(tmpdir(), 'early-sync-'))
  synced = []
  finish = []
})
afterEach(() => rm(objects, { recursive: true, force: true }))

const earlySync = (): EarlySync =>
  new EarlySync(objects, (path) => {
    synced.push(path)
    return new Promise((resolve, reject) => finish.push((error) => (error === undefined ? resolve() : reject(error))))
  })
const started = async (count: number) => expect.poll(() => synced.length).toBe(count)

test('the pack that is being written is synced every 16 MiB, one sync at a time', async () => {
  await mkdir(join(objects, 'pack'))
  await writeFile(join(objects, 'pack', 'pack-1.pack'), '')
  await writeFile(join(objects, 'pack', 'tmp_pack_a'), '')
  const sync = earlySync()
  sync.passed(16 * MIB - 1)
  await turns()
  expect(synced).toEqual([])
  sync.passed(1)
  await started(1)
  sync.passed(40 * MIB)
  await turns()
  expect(synced).toEqual([join(objects, 'pack', 'tmp_pack_a')])
  // its failure is nobody's, and the next one is tried
  finish[0]?.(new Error('disk'))
  await turns()
  sync.passed(1)
  await started(2)
  finish[1]?.()
})

test('nothing happens where no pack is written', async () => {
  const sync = earlySync()
  for (let index = 0; index < 3; index++) {
    sync.passed(16 * MIB)
    await turns()
  }
  expect(synced).toEqual([])
})
