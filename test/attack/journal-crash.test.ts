import { cp, open, stat, truncate } from 'node:fs/promises'
import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { MeshError } from '../../protocol/errors.ts'
import { FAILPOINTS } from '../../daemon/failpoint.ts'
import { readMark } from '../../daemon/journal/mark.ts'
import {
  answersOf,
  contents,
  expectNothingLost,
  openAt,
  place,
  seeded,
  spawnWriter,
  storeFiles,
  temporaryRoot,
  type WriterOptions,
} from './journal-support.ts'

/** The long run uses 200 */
const ROUNDS = Number(process.env.MANYHANDS_CRASH_ROUNDS ?? 12)

describe('JRN-01: kill -9 under load', () => {
  it('loses nothing that was acknowledged, over many kills of one journal', {
    timeout: 60_000 + ROUNDS * 2_000,
  }, async () => {
    const root = await temporaryRoot()
    const random = seeded(1)
    let acknowledged = 0
    for (let round = 0; round < ROUNDS; round++) {
      const writer = spawnWriter(root, {
        first: round * 1_000_000,
        inFlight: 1 + Math.floor(random() * 64),
        trimEvery: random() < 0.3 ? 100 : 0,
      })
      await writer.ready
      await pause(random() * 80)
      writer.process.kill('SIGKILL')
      expect(await writer.ended).toBe('SIGKILL')
      await expectNothingLost(root)
      acknowledged = (await answersOf(root)).acknowledged.size
    }
    expect(acknowledged).toBeGreaterThan(0)
  })
})

describe('F02: kill at every failpoint', () => {
  // how each point is reached; one that needs an injected disk error is in journal-disk.test.ts
  const SCENARIOS: Record<string, WriterOptions | 'journal-disk.test.ts'> = {
    'journal.init.after-store': { failpoint: 'journal.init.after-store:kill' },
    'journal.before-batch': { failpoint: 'journal.before-batch:kill:9' },
    'journal.after-batch': { failpoint: 'journal.after-batch:kill:9' },
    'journal.before-mark': { failpoint: 'journal.before-mark:kill:3' },
    'journal.after-mark': { failpoint: 'journal.after-mark:kill:3' },
    'journal.trim.after-base': { failpoint: 'journal.trim.after-base:kill:2', trimEvery: 20 },
    'journal.recover.before-undo': 'journal-disk.test.ts',
    'journal.before-close': { failpoint: 'journal.before-close:kill', count: 100 },
  }

  it('covers every point of the table', () => {
    const ours = Object.keys(FAILPOINTS).filter((name) => name.startsWith('journal.'))
    expect(Object.keys(SCENARIOS).sort()).toEqual(ours.sort())
  })

  for (const [name, options] of Object.entries(SCENARIOS)) {
    if (typeof options === 'string') continue
    it(`${name}: nothing acknowledged is lost and the journal goes on`, async () => {
      const root = await temporaryRoot()
      const writer = spawnWriter(root, options)
      expect(await writer.ended).toBe('SIGKILL')
      const head = await expectNothingLost(root)
      const { acknowledged } = await answersOf(root)
      if (name === 'journal.init.after-store') expect(acknowledged.size).toBe(0)
      else expect(acknowledged.size).toBeGreaterThan(0)
      const again = spawnWriter(root, { first: 1_000_000, count: 50 })
      expect(await again.ended).toBe(0)
      expect(await expectNothingLost(root)).toBe(head + 50)
    })
  }
})

describe('F20: power loss', () => {
  it('a store cut back to what some sync left is either whole up to the mark or refused', {
    timeout: 60_000,
  }, async () => {
    const random = seeded(20)
    const root = await temporaryRoot()
    const writer = spawnWriter(root, { inFlight: 8 })
    await writer.ready
    let last = 0
    let opened = 0
    let refused = 0
    for (let moment = 0; moment < 4; moment++) {
      const marked = async () => (await readMark(place(root).markFile))?.sequence
      await expect.poll(marked, { timeout: 10_000, interval: 5 }).toBeGreaterThan(last)
      await pause(random() * 40)
      writer.process.kill('SIGSTOP')
      // calls under way in its threads still end
      await pause(30)
      const mark = await readMark(place(root).markFile)
      const { acknowledged } = await answersOf(root)
      last = mark?.sequence ?? 0
      for (let variant = 0; variant < 6; variant++) {
        const copy = await temporaryRoot()
        await cp(root, copy, { recursive: true })
        const log = (await storeFiles(copy, /\.log$/)).at(-1) ?? ''
        const { size } = await stat(log)
        // whole, nothing, a little off the end, anything
        const little = Math.max(0, size - Math.floor(random() * 8000))
        const keep = [size, 0, little, little][variant] ?? Math.floor(random() * size)
        await truncate(log, keep)
        // a file system may also have kept the length and lost the bytes
        if (variant % 2 === 1) await zeroTail(log, keep, size)
        try {
          const journal = await openAt(copy)
          opened += 1
          const { records } = await contents(journal)
          expect(records.length).toBeGreaterThanOrEqual(mark?.sequence ?? Number.POSITIVE_INFINITY)
          if (variant === 0) expect(records.length).toBeGreaterThanOrEqual(acknowledged.size)
          await journal.close()
        } catch (error) {
          if (!(error instanceof MeshError)) throw error
          refused += 1
          // with the very beginning of the log, the identity of the store is gone too
          if (error.code === 'E_JOURNAL_LOST') expect(keep).toBeLessThan(1000)
          else expect(error).toMatchObject({ code: 'E_JOURNAL_ROLLBACK', details: { acknowledged: mark?.sequence } })
        }
      }
      writer.process.kill('SIGCONT')
    }
    writer.process.kill('SIGKILL')
    await writer.ended
    expect(opened).toBeGreaterThanOrEqual(4)
    expect(refused).toBeGreaterThanOrEqual(4)
  })
})

async function zeroTail(path: string, from: number, to: number): Promise<void> {
  const file = await open(path, 'r+')
  try {
    await file.write(Buffer.alloc(to - from), 0, to - from, from)
  } finally {
    await file.close()
  }
}
