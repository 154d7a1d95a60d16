/** Real daemons on a host whose clock jumps, whose files run out, whose disk is full. */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { chmod, mkdir, rename, rm, statfs, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, test } from 'vitest'
import { connect, type Mesh } from '../../sdk/src/index.ts'
import { RealMesh, until } from '../support/real-mesh.ts'
import { mountTmpfs, tmpfsProblem } from '../support/tmpfs.ts'

const DAY_MS = 86_400_000
/** After this a run on a full disk counts as one that waits for room */
const PATIENCE_MS = 1_000

let mesh: RealMesh | undefined

afterEach(async () => {
  await mesh?.close()
  mesh = undefined
})

const codeOf = (error: unknown): string =>
  typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : String(error)

/** The library that bends a process's clock, where this host has it */
const faketime = ((): string | undefined => {
  const root = '/usr/lib'
  const roots = existsSync(root) ? [root, ...readdirSync(root).map((name) => join(root, name))] : []
  return roots.map((folder) => join(folder, 'faketime', 'libfaketimeMT.so.1')).find((path) => existsSync(path))
})()
if (faketime === undefined) console.warn('SKIPPED: F24 clock jumps of a whole daemon: libfaketime is not installed')

describe('the clock', () => {
  test.skipIf(faketime === undefined)(
    'F24: it jumps by days while a peer works: leases hold, tasks end once',
    async () => {
      const clocks = mkdtempSync(join(tmpdir(), 'mh-clock-'))
      try {
        /** Sets a node's clock, whole at once: a daemon must not read half a line. */
        const jump = async (name: string, offset: string): Promise<void> => {
          await writeFile(join(clocks, `${name}.new`), `${offset}\n`)
          await rename(join(clocks, `${name}.new`), join(clocks, name))
        }
        const node = (name: string) => ({
          name,
          settings: { 'lease.durationMs': '2000', 'lease.renewMs': '500', 'lease.marginMs': '200' },
          env: {
            LD_PRELOAD: faketime ?? '',
            FAKETIME_TIMESTAMP_FILE: join(clocks, name),
            FAKETIME_CACHE_DURATION: '1',
            FAKETIME_DONT_FAKE_MONOTONIC: '1',
            DONT_FAKE_MONOTONIC: '1',
          },
        })
        await jump('alice', '+0')
        await jump('bob', '+0')
        mesh = await RealMesh.start(node('alice'), node('bob'))
        const sdk = await mesh.nodes[0]?.sdk()
        if (sdk === undefined) throw new Error('no node')
        const clockOf = async (): Promise<number> => {
          const { id } = await sdk.tasks.run('export default () => 1', { requires: { on: 'local' } })
          return Date.parse((await sdk.tasks.get(id)).createdAt)
        }
        const task = await sdk.tasks.start(
          'export default () => new Promise((done) => setTimeout(() => done(7), 5000))',
          {
            requires: { on: 'bob' },
          },
        )
        await until(async () => (await sdk.tasks.get(task.id)).state === 'working', 'bob works')
        await jump('alice', '+3d')
        await jump('bob', '-3d')
        // The jump is real: it shows in what the daemon writes down.
        await until(async () => (await clockOf()) > Date.now() + 2 * DAY_MS, 'the clock has jumped ahead')
        await jump('alice', '-3d')
        await jump('bob', '+3d')
        await until(async () => (await clockOf()) < Date.now() - 2 * DAY_MS, 'the clock has jumped back')
        const ended = await sdk.tasks.wait(task.id)
        expect(ended).toMatchObject({ state: 'completed', output: 7, attempts: 1, lease: { epoch: 1 } })
        expect((await sdk.peers()).some(({ name, connected }) => name === 'bob' && connected)).toBe(true)
        expect(await sdk.run('export default () => 2', { requires: { on: 'bob' } })).toBe(2)
      } finally {
        await mesh?.close()
        rmSync(clocks, { recursive: true, force: true })
      }
    },
  )
})

const prlimit = ['/usr/bin/prlimit', '/bin/prlimit'].find((path) => existsSync(path))
if (prlimit === undefined) console.warn('SKIPPED: F28 few file descriptors: prlimit is not installed')

describe('file descriptors', () => {
  test.skipIf(prlimit === undefined)('F28: with 256 of them and 300 clients work is shed, not the daemon', async () => {
    mesh = await RealMesh.start({ name: 'alice', through: [prlimit ?? '', '--nofile=256'] })
    const [alice] = mesh.nodes
    if (alice === undefined) throw new Error('no node')
    const before = await alice.sdk()
    const one = async (n: number): Promise<string> => {
      const client = await connect({ home: alice.home })
      try {
        return (await client.run('export default (n) => n', { input: n })) === n ? 'ran' : 'wrong'
      } finally {
        await client.close()
      }
    }
    const crowd = await Promise.all(Array.from({ length: 300 }, (_, n) => one(n).catch(codeOf)))
    // Everybody got what they asked for or was told, with a code, that it is too much now.
    expect(crowd.filter((answer) => !/^(?:ran|E_[A-Z_]+)$/.test(answer))).toEqual([])
    expect(crowd).toContain('ran')
    expect(alice.running).toBe(true)
    await until(async () => (await before.run('export default () => 3').catch(codeOf)) === 3, 'work goes on')
    const after = Array.from({ length: 20 }, (_, n) => before.run('export default (n) => n + 1', { input: n }))
    expect(await Promise.all(after)).toEqual(Array.from({ length: 20 }, (_, n) => n + 1))
    expect(alice.running).toBe(true)
  })
})

const mountProblem = tmpfsProblem()
if (mountProblem !== undefined) console.warn(`SKIPPED: F15, F16, F17 disks that take nothing more: ${mountProblem}`)

interface DiskFault {
  readonly what: string
  /** Of the file system, as mount(8) takes them */
  readonly options: string
  /** From then on nothing can be written below `data`. @returns ends that */
  strike(data: string): Promise<() => Promise<void>>
}

const DISK_FAULTS: readonly DiskFault[] = [
  {
    what: 'F15: full',
    options: 'size=24m',
    async strike(data) {
      const ballast = join(data, 'ballast')
      const { bavail, bsize } = await statfs(data)
      await writeFile(ballast, Buffer.alloc(bavail * bsize - (128 << 10), 1))
      return () => rm(ballast)
    },
  },
  {
    what: 'F16: out of inodes and nearly full',
    options: 'size=24m,nr_inodes=200',
    async strike(data) {
      const ballast = join(data, 'ballast')
      await mkdir(ballast)
      const { bavail, bsize, ffree } = await statfs(data)
      await writeFile(join(ballast, 'bytes'), Buffer.alloc(bavail * bsize - (1 << 20), 1))
      for (let n = 1; n < ffree; n++) await writeFile(join(ballast, `${n}`), '')
      return () => rm(ballast, { recursive: true })
    },
  },
]

/** Runs that are told to be done, with the digit that their result repeats. */
type Acknowledged = ReadonlyMap<string, string>

function work(sdk: Mesh): { acknowledged: Acknowledged; runOne(n: number): Promise<string | undefined> } {
  const acknowledged = new Map<string, string>()
  return {
    acknowledged,
    /** @returns why it was not done */
    async runOne(n) {
      try {
        const task = await sdk.tasks.run('export default (n) => String(n % 10).repeat(30000)', { input: n })
        if (task.state === 'completed') acknowledged.set(task.id, String(n % 10))
        return task.state === 'completed' ? undefined : (task.error?.code ?? task.state)
      } catch (error) {
        return codeOf(error)
      }
    },
  }
}

async function expectAll(sdk: Mesh, acknowledged: Acknowledged): Promise<void> {
  for (const [id, digit] of acknowledged)
    expect(await sdk.tasks.get(id)).toMatchObject({ state: 'completed', output: digit.repeat(30_000) })
}

describe('the disk', () => {
  test.skipIf(mountProblem !== undefined).each(DISK_FAULTS)(
    '$what: runs are refused, reads go on, and afterwards it goes on without a restart',
    async ({ options, strike }) => {
      mesh = await RealMesh.start()
      const alice = mesh.node({ name: 'alice' })
      const data = join(alice.home, 'data')
      await mkdir(data, { recursive: true, mode: 0o700 })
      const unmount = mountTmpfs(data, options)
      try {
        const sdk = await alice.up()
        const { pid } = alice
        const { acknowledged, runOne } = work(sdk)
        for (let n = 0; n < 5; n++) expect(await runOne(n)).toBeUndefined()

        const mend = await strike(data)
        // A run that was taken when the disk filled up may wait for room until it is told its end; it must not be told another.
        const waiting: Promise<string | undefined>[] = []
        const soon = async (answer: Promise<string | undefined>): Promise<string | undefined> => {
          const first = await Promise.race([answer, sleep(PATIENCE_MS, 'waits', { ref: false })])
          if (first === 'waits') waiting.push(answer)
          return first
        }
        let refusal: string | undefined
        for (let n = 5; n < 500 && refusal === undefined; n++) refusal = await soon(runOne(n))
        expect(['E_STORAGE', 'waits']).toContain(refusal)
        expect(['E_STORAGE', 'waits']).toContain(await soon(runOne(1)))
        expect(alice.running).toBe(true)
        await expectAll(sdk, acknowledged)
        expect((await sdk.tasks.list()).tasks.length).toBeGreaterThan(0)

        await mend()
        let last: string | undefined
        const works = async (): Promise<boolean> => {
          last = await soon(runOne(1))
          return last === undefined
        }
        await until(works, 'runs work again', 15_000).catch(async (cause: unknown) => {
          throw new Error(`runs do not work again: ${last}; ${await alice.log()}`, { cause })
        })
        const late = waiting.map((answer) => Promise.race([answer, sleep(10_000, 'never ended', { ref: false })]))
        for (const answer of await Promise.all(late)) expect([undefined, 'E_STORAGE']).toContain(answer)
        expect(alice.running && alice.pid === pid).toBe(true)

        // And nothing that was told to be done is missing from the disk.
        await alice.kill()
        await expectAll(await alice.up(), acknowledged)
      } finally {
        await alice.kill()
        unmount()
      }
    },
  )

  test.skipIf(mountProblem !== undefined)(
    'F17: made read only by an error: runs are refused, reads go on, the health says so; repaired, nothing is missing',
    async () => {
      mesh = await RealMesh.start()
      const alice = mesh.node({ name: 'alice' })
      const data = join(alice.home, 'data')
      const image = join(alice.home, 'disk.img')
      const mount = (...options: string[]): void =>
        void execFileSync('mount', ['-o', ['loop', ...options].join(','), image, data], { stdio: 'pipe' })
      await mkdir(data, { recursive: true, mode: 0o700 })
      execFileSync('mkfs.ext4', ['-q', '-F', image, '48m'], { stdio: 'pipe' })
      mount()
      try {
        await rm(join(data, 'lost+found'), { recursive: true })
        await chmod(data, 0o700)
        const sdk = await alice.up()
        const { acknowledged, runOne } = work(sdk)
        for (let n = 0; n < 5; n++) expect(await runOne(n)).toBeUndefined()
        // What the kernel does to a file system that it found damaged; files stay open.
        execFileSync('mount', ['-o', 'remount,abort', data], { stdio: 'pipe' })
        await until(async () => (await Promise.race([runOne(5), sleep(PATIENCE_MS)])) === 'E_STORAGE', 'refused')
        await expectAll(sdk, acknowledged)
        expect((await sdk.status()).health).toBe('read-only')
        expect(alice.running).toBe(true)

        await alice.kill()
        // What it had started ends by itself, a moment later
        await until(async () => spawnSync('umount', [data]).status === 0, 'nobody uses the disk')
        // Jails that are ending have mounts of their own: mounted again before, it would be the same, aborted file system
        await until(async () => spawnSync('losetup', ['-j', image]).stdout.length === 0, 'the disk is released')
        // 1: mended
        expect(spawnSync('e2fsck', ['-fy', image]).status).toBeLessThanOrEqual(1)
        mount()
        await expectAll(await alice.up(), acknowledged)
      } finally {
        await alice.kill()
        spawnSync('umount', ['-l', data])
      }
    },
  )
})
