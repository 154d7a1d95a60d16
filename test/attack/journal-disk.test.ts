import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { rm, statfs, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { JournalHealth } from '../../daemon/journal/journal.ts'
import {
  answersOf,
  contents,
  expectNothingLost,
  fill,
  indexRecord,
  openAt,
  spawnWriter,
  temporaryRoot,
  type WriterOptions,
} from './journal-support.ts'
import { mountTmpfs, tmpfsProblem } from '../support/tmpfs.ts'

/** Refused indexes must not be found; all others must, once. `contents` inside checks the rows. */
async function expectRefusedAbsent(root: string): Promise<void> {
  const { acknowledged, refused, closed } = await answersOf(root)
  expect(closed).toBe(true)
  await expectNothingLost(root)
  const journal = await openAt(root)
  const { indexes } = await contents(journal)
  await journal.close()
  expect(indexes.toSorted((a, b) => a - b)).toEqual([...acknowledged.keys()].sort((a, b) => a - b))
  expect(indexes.filter((index) => refused.has(index))).toEqual([])
}

describe('JRN-08: an I/O error', () => {
  it.each(['journal.before-batch', 'journal.before-mark'])(
    'at %s: what was refused does not exist, the rest goes on',
    async (point) => {
      const root = await temporaryRoot()
      const writer = spawnWriter(root, { failpoint: `${point}:error:5`, count: 2000, inFlight: 8 })
      expect(await writer.ended).toBe(0)
      const { acknowledged, refused } = await answersOf(root)
      expect(new Set(refused.values())).toEqual(new Set(refused.size > 0 ? ['E_STORAGE'] : []))
      if (point === 'journal.before-batch') expect(refused.size).toBeGreaterThan(0)
      expect(acknowledged.size + refused.size).toBe(2000)
      await expectRefusedAbsent(root)
    },
  )
})

const mountProblem = tmpfsProblem()
if (mountProblem !== undefined) console.warn(`SKIPPED: F15 full disk: ${mountProblem}`)

describe('F15: full disk', () => {
  it.skipIf(mountProblem !== undefined)(
    'nothing is acknowledged that is not there, reads go on, and it comes back once space is free',
    { timeout: 60_000 },
    async () => {
      const root = await temporaryRoot()
      onTestFinished(mountTmpfs(root, 'size=16m'))
      const healths: JournalHealth[] = []
      const journal = await openAt(root, {
        onHealth: (health) => healths.push(health),
        limits: { recoverFirstMs: 5, recoverLastMs: 20 },
      })
      await fill(journal, 100)
      const ballast = join(root, 'ballast')
      const { bavail, bsize } = await statfs(root)
      await writeFile(ballast, Buffer.alloc(bavail * bsize - (256 << 10), 1))

      const acknowledged: number[] = []
      const refused: number[] = []
      for (let index = 100; refused.length === 0 && index < 100_000; index += 8) {
        await Promise.all(
          [0, 1, 2, 3, 4, 5, 6, 7].map((i) =>
            journal.append(indexRecord(index + i)).then(
              () => acknowledged.push(index + i),
              (error: unknown) => {
                expect(error).toMatchObject({ code: 'E_STORAGE', retryAfterMs: 1000 })
                refused.push(index + i)
              },
            ),
          ),
        )
      }
      expect(acknowledged.length).toBeGreaterThan(0)
      expect(refused.length).toBeGreaterThan(0)
      expect(journal.health()).toMatchObject({ state: 'failing', reason: 'its disk is full' })
      const head = journal.head
      await expect(journal.append(indexRecord(200_000))).rejects.toMatchObject({ code: 'E_STORAGE' })
      await expect(journal.trim(5)).rejects.toMatchObject({ code: 'E_STORAGE' })
      // several attempts to come back are made meanwhile
      await new Promise((resolve) => setTimeout(resolve, 100))
      expect(journal.get('seen', '0')).toBeDefined()
      expect(await journal.read(1, 10)).toHaveLength(10)
      expect(journal.health().state).toBe('failing')
      expect(journal.head).toBe(head)

      await rm(ballast)
      await expect.poll(() => journal.health().state, { timeout: 10_000, interval: 10 }).toBe('ok')
      expect(healths.map((health) => health.state)).toEqual(['failing', 'ok'])
      for (const index of refused) {
        expect(journal.get('seen', `${index}`)).toBeUndefined()
        await journal.append(indexRecord(index))
        acknowledged.push(index)
      }
      await journal.close()

      const again = await openAt(root)
      const { indexes } = await contents(again)
      expect(new Set(indexes.slice(100))).toEqual(new Set(acknowledged))
      await again.close()
    },
  )
})

const straceProblem = ((): string | undefined => {
  try {
    execFileSync('strace', ['-o', '/dev/null', '-e', 'trace=none', 'true'], { stdio: 'pipe' })
    return undefined
  } catch {
    return 'strace is missing or may not trace'
  }
})()
if (straceProblem !== undefined)
  console.warn(`SKIPPED: F18 injected disk errors and F02 journal.recover.before-undo: ${straceProblem}`)

describe.skipIf(straceProblem !== undefined)('F18: injected disk errors', () => {
  /** One thread makes all disk calls, so that `when` counts them in order */
  function under(call: string, inject: string, trace: string, count = 600): WriterOptions {
    const options = ['-f', '-qq', '-o', trace, '-e', `trace=${call}`, '-e', `inject=${call}:${inject}`]
    return { under: ['strace', ...options], env: { UV_THREADPOOL_SIZE: '1' }, count, inFlight: 8 }
  }

  it.each([
    ['fdatasync', 'error=EIO:when=9', 'once', 600],
    ['fdatasync', 'error=EIO:when=9+40', 'again and again', 600],
    ['fdatasync', 'error=ENOSPC:when=7+1', undefined, 600],
    // Marks, which follow each other the slower the slower the disk is: the one that fails must not be the last, which closing writes
    ['pwrite64', 'error=EIO:when=3', 'once', 3_000],
  ])(
    '%s %s: nothing acknowledged is lost, nothing refused exists',
    { timeout: 60_000 },
    async (call, inject, often, count) => {
      const root = await temporaryRoot()
      const trace = join(root, 'trace')
      const writer = spawnWriter(root, under(call, inject, trace, count))
      if (often === undefined) {
        // for ever: it must refuse, and keep trying
        await expect.poll(async () => (await answersOf(root)).refused.size, { timeout: 20_000 }).toBeGreaterThan(0)
        const { acknowledged } = await answersOf(root)
        await new Promise((resolve) => setTimeout(resolve, 300))
        expect((await answersOf(root)).acknowledged.size).toBe(acknowledged.size)
        killTraced(trace)
        expect(await writer.ended).toBe('SIGKILL')
        await expectNothingLost(root)
        return
      }
      expect(await writer.ended).toBe(0)
      expect(readFileSync(trace, 'utf8')).toContain('(INJECTED)')
      const { acknowledged, refused } = await answersOf(root)
      if (call === 'fdatasync') expect(refused.size).toBeGreaterThan(0)
      expect(acknowledged.size + refused.size).toBe(count)
      await expectRefusedAbsent(root)
    },
  )

  it('F02: killed while a refused batch is taken out again', { timeout: 60_000 }, async () => {
    const root = await temporaryRoot()
    const options = under('fdatasync', 'error=EIO:when=9', join(root, 'trace'))
    const writer = spawnWriter(root, { ...options, failpoint: 'journal.recover.before-undo:kill' })
    expect(await writer.ended).toBe('SIGKILL')
    const { acknowledged, refused } = await answersOf(root)
    expect(refused.size).toBeGreaterThan(0)
    const head = await expectNothingLost(root)
    // the batch is found as after a crash between sync and answer
    expect(head).toBeGreaterThan(acknowledged.size)
    expect(head).toBeLessThanOrEqual(acknowledged.size + refused.size)
  })
})

/** Ends the process that is traced; strace itself blocks signals and ends with it. */
function killTraced(trace: string): void {
  const pid = Number(/^(\d+) /m.exec(readFileSync(trace, 'utf8'))?.[1])
  process.kill(pid, 'SIGKILL')
}
