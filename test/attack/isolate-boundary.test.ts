import { execFileSync, spawn } from 'node:child_process'
import { readFileSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FROM_HOST, HEADER_BYTES } from '../../daemon/exec/isolate/frame.ts'
import { HostProcess } from '../../daemon/exec/isolate/host-process.ts'
import { HOST_LIMITS } from '../../daemon/exec/isolate/host-settings.ts'
import { createIsolateExecutor, type IsolateExecutor } from '../../daemon/exec/isolate/isolate-executor.ts'
import { jailCommand, type JailedProgram } from '../../daemon/exec/isolate/jail.ts'
import { probe, probeJail } from '../../daemon/exec/isolate/jail-probe.ts'
import { hostEntry } from '../../daemon/exec/isolate/host-entry.ts'
import { SupervisedJob } from '../../daemon/exec/isolate/supervised-job.ts'
import type { JobFailure } from '../../protocol/job.ts'
import { MeshError } from '../../protocol/errors.ts'
import { codeOf, run, specOf } from './isolate-kit.ts'

const FIXTURES = join(dirname(fileURLToPath(import.meta.url)), '..', 'fixtures')
const bwrap = await probe(['bwrap', 'none'], hostEntry())
const unshare = await probe(['unshare', 'none'], hostEntry())
if (bwrap.grade !== 'jailed') console.warn('SKIPPED: the bubblewrap drills need a working bwrap here:', bwrap.missing)
if (unshare.grade !== 'jailed')
  console.warn('SKIPPED: the unshare drill needs root and util-linux here:', unshare.missing)

let executor: IsolateExecutor

beforeAll(async () => {
  executor = await createIsolateExecutor()
  await executor.warm()
})
afterAll(() => executor.close())

describe('what crosses the boundary', () => {
  it('ISO-14 a hostile result is text and pollutes nothing', async () => {
    const source = `export default () => {
      const many = Object.fromEntries(Array.from({ length: 1e4 }, (_, i) => ['k' + i, i]))
      return { ['__proto__']: { polluted: 1 }, constructor: { prototype: { polluted: 1 } }, get trap() { return 7 }, many } }`
    const outcome = await run(executor, source)
    expect(codeOf(outcome)).toBe('ok')
    const text = outcome.ok ? outcome.output : ''
    expect(text).toContain('"trap":7')
    JSON.parse(text)
    expect(Reflect.get({}, 'polluted')).toBeUndefined()
  })

  it('ISO-15 only the words of a typed error reach the guest', async () => {
    const source = `export default async (_, env) => {
      const seen = []
      for (const f of [env.leak, env.typed]) try { await f() } catch (e) { seen.push({ code: e.code, message: e.message, all: String(e.stack) }) }
      return seen }`
    const onHostCall = async (name: string): Promise<string> => {
      if (name === 'typed')
        throw new MeshError('E_FORBIDDEN', 'Not for you', {
          cause: new Error('CANARY-cause'),
          details: { x: 'CANARY-details' },
        })
      throw new Error('CANARY-secret at /etc/manyhands/key')
    }
    const outcome = await run(executor, source, { hostFunctions: ['leak', 'typed'] }, { onHostCall })
    const text = outcome.ok ? outcome.output : JSON.stringify(outcome)
    expect(text).toContain('"code":"E_HOST_CALL"')
    expect(text).toContain('"code":"E_FORBIDDEN","message":"Not for you"')
    expect(text).not.toMatch(/CANARY|\/etc|daemon|node_modules|isolated-vm/)
  })

  it('ISO-16 there is no way to hand in machine code', async () => {
    const spec = specOf('export default () => 1')
    const [module] = spec.program.modules
    const poisoned = {
      ...spec.program,
      cachedData: new Uint8Array(64),
      snapshot: new Uint8Array(64),
      modules: [{ name: 'main.js', type: 'js' as const, source: module?.source ?? '', cachedData: new Uint8Array(64) }],
    }
    const outcome = await executor.run({ ...spec, program: poisoned }, 'null')
    expect(outcome).toMatchObject({ ok: true, output: '1' })
    for (const file of ['link-program', 'guest-isolate', 'hosted-job']) {
      const source = readFileSync(join(FIXTURES, `../../daemon/exec/isolate/${file}.ts`), 'utf8')
      expect(source).not.toMatch(/cachedData|snapshot/)
    }
  })

  it('ISO-17 nothing of one job is left for the next, and other tenants have other processes', async () => {
    const dirty = `Array.prototype.map = () => 'dirty'; globalThis.left = 1; Object.prototype.left = 1; JSON.stringify = () => '"dirty"'; export default () => 1`
    const look = `export default () => [typeof globalThis.left, [1].map((x) => x + 1), ({}).left === undefined]`
    for (let i = 0; i < 6; i++) {
      await run(executor, dirty, { domain: 'tenant-a' })
      for (const domain of ['tenant-a', 'tenant-b']) {
        expect(await run(executor, look, { domain })).toMatchObject({ ok: true, output: '["undefined",[2],true]' })
      }
    }
    const wait = 'export default () => new Promise((resolve) => setTimeout(resolve, 200))'
    const before = executor.assignments()
    expect(before.get('tenant-a')?.some((pid) => before.get('tenant-b')?.includes(pid))).toBe(false)
    await Promise.all(['tenant-a', 'tenant-b'].map((domain) => run(executor, wait, { domain })))
    const pids = [...executor.assignments().values()].flat()
    expect(new Set(pids).size).toBe(pids.length)
  })

  it('ISO-18 the same module name with other code is another program', async () => {
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, (_, i) => run(executor, `export default () => ${i}`, { domain: `tenant-${i % 2}` })),
    )
    expect(outcomes.map((outcome) => outcome.ok && outcome.output)).toEqual(
      Array.from({ length: 20 }, (_, i) => String(i)),
    )
  })

  it('ISO-22 a debugger signal opens no port', async () => {
    process.env.NODE_OPTIONS = '--inspect=0'
    const guarded = await createIsolateExecutor()
    try {
      await guarded.warm()
      expect(codeOf(await run(guarded, 'export default () => 1'))).toBe('ok')
      const [pid = 0] = guarded.hostPids()
      expect(readFileSync(`/proc/${pid}/environ`, 'latin1')).not.toContain('NODE_OPTIONS')
      const sockets = () =>
        execFileSync('ls', ['-l', `/proc/${pid}/fd`], { encoding: 'utf8' }).match(/socket:/g)?.length
      const before = sockets()
      process.kill(pid, 'SIGUSR1')
      await new Promise((resolve) => setTimeout(resolve, 100))
      expect(sockets()).toBe(before)
      expect(readFileSync(`/proc/${pid}/net/tcp`, 'utf8')).not.toMatch(/ 0A /)
    } finally {
      delete process.env.NODE_OPTIONS
      await guarded.close()
    }
  })
})

describe('ISO-20 as if V8 had fallen: plain code of the runtime in the jail', () => {
  const refused: unknown = expect.stringMatching(/^E/)
  const harmless: unknown = expect.not.arrayContaining(['etc', 'home', 'root', 'proc', 'sys', 'var'])
  const drill = async (jail: typeof bwrap) => {
    const entry = hostEntry()
    const script = join(FIXTURES, 'native-drill.mjs')
    // without the runtime's permission model, which fallen code would not respect
    const program: JailedProgram = {
      node: process.execPath,
      entry: { ...entry, script, reads: [...entry.reads, script] },
      flags: [],
      args: [],
    }
    const { file, args, filter } = jailCommand(jail.tools, program, HOST_LIMITS)
    const child = spawn(file, args, {
      stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe'],
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', CANARY: 'x' },
    })
    const pipe = child.stdio[4]
    if (pipe !== null && pipe !== undefined && 'end' in pipe) pipe.end(filter ?? '')
    let text = ''
    let noise = ''
    child.stdout?.on('data', (chunk: Buffer) => (text += chunk))
    child.stderr?.on('data', (chunk: Buffer) => (noise += chunk))
    await new Promise((resolve) => child.once('close', resolve))
    expect(text, noise).not.toBe('')
    const found: unknown = JSON.parse(text)
    return found
  }

  it.skipIf(bwrap.grade !== 'jailed')('bubblewrap refuses all of it', async () => {
    expect(await drill(bwrap)).toEqual({
      passwd: 'ENOENT',
      home: 'ENOENT',
      proc: 'ENOENT',
      write: 'EROFS',
      connectTcp: 'EPERM',
      connectUnix: 'EPERM',
      listen: 'EPERM',
      spawn: refused,
      spawnSelf: 'EPERM',
      killParent: 'ESRCH',
      killAll: refused,
      uid: 65534,
      secrets: false,
      visible: harmless,
    })
  })

  it.skipIf(unshare.grade !== 'jailed')('unshare refuses files, network and other processes', async () => {
    expect(await drill(unshare)).toMatchObject({
      passwd: 'ENOENT',
      home: 'ENOENT',
      proc: 'ENOENT',
      write: refused,
      connectTcp: refused,
      connectUnix: 'ENOENT',
      killParent: 'ESRCH',
      uid: 65534,
      secrets: false,
    })
  })

  it.skipIf(bwrap.grade !== 'jailed')(
    'every host really has the jail: own namespaces, no capabilities, a filter',
    async () => {
      const [pid = 0] = executor.hostPids()
      const status = readFileSync(`/proc/${pid}/status`, 'utf8')
      expect(status).toMatch(/^CapEff:\s+0+$/m)
      expect(status).toMatch(/^CapBnd:\s+0+$/m)
      expect(status).toMatch(/^NoNewPrivs:\s+1$/m)
      expect(status).toMatch(/^Seccomp:\s+2$/m)
      for (const kind of ['net', 'pid', 'mnt', 'ipc', 'uts']) {
        expect(statSync(`/proc/${pid}/ns/${kind}`).ino).not.toBe(statSync(`/proc/self/ns/${kind}`).ino)
      }
      expect(readFileSync(`/proc/${pid}/limits`, 'utf8')).toMatch(/Max core file size\s+0\s/)
    },
  )
})

describe('ISO-21 a host process that lies', () => {
  const spec = specOf('export default () => 1', { hostFunctions: ['f'] })
  const frame = (type: number, job: number, body = '', ref = 0, flag = 0, length = Buffer.byteLength(body)) => {
    const head = Buffer.alloc(HEADER_BYTES)
    head.writeUInt32LE(length, 0)
    head.writeUInt32LE(job, 4)
    head.writeUInt8(type, 8)
    head.writeUInt32LE(ref, 9)
    head.writeUInt8(flag, 13)
    return Buffer.concat([head, Buffer.from(body)])
  }
  const attacks: Record<string, (job: number) => Buffer> = {
    'unknown type': (job) => frame(200, job),
    'forged job': (job) => frame(FROM_HOST.reply, job + 1, '1', 0, 1),
    'huge length': (job) => frame(FROM_HOST.reply, job, '', 0, 1, 0xffff_ffff),
    'huge log': (job) => frame(FROM_HOST.log, job, '', 0, 1, 0x7fff_ffff),
    'unasked pong': () => frame(FROM_HOST.pong, 0, '{}', 99),
    'second hello': () => frame(FROM_HOST.hello, 0),
    'session frame for a run': (job) => frame(FROM_HOST.loaded, job),
    'unknown host function': (job) => frame(FROM_HOST.hostCall, job, '[]', 1, 9),
    'report that is not JSON': (job) => frame(FROM_HOST.ended, job, 'nonsense'),
    'report without numbers': (job) => frame(FROM_HOST.ended, job, '{"cpuMs":"many"}'),
    'report of endless time': (job) => frame(FROM_HOST.ended, job, '{"cpuMs":1e999}'),
    'failure as large as a result': (job) =>
      frame(FROM_HOST.reply, job, JSON.stringify({ code: 'E_GUEST', message: 'x'.repeat(1 << 20) })),
    'failure with a code of its own': (job) => frame(FROM_HOST.reply, job, '{"code":"E_NOT_A_CODE","message":"x"}'),
    'second result': (job) =>
      Buffer.concat([frame(FROM_HOST.reply, job, '1', 0, 1), frame(FROM_HOST.reply, job, '2', 0, 1)]),
    garbage: () => Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'),
  }

  for (const [name, attack] of Object.entries(attacks)) {
    it(`ISO-21 ${name}`, async () => {
      const command = { file: process.execPath, args: [join(FIXTURES, 'lying-host.mjs')], filter: undefined }
      const host = new HostProcess(command, { hungMs: 1000, startMs: 10_000 }, () => {})
      expect(await host.ready).toBe(true)
      const ended = Promise.withResolvers<JobFailure | undefined>()
      const job: SupervisedJob = new SupervisedJob(
        spec,
        'null',
        {},
        { now: () => 0, onAgain: () => ended.reject(new Error('again')), onDone: ended.resolve },
      )
      job.start(host)
      // the fixture sends back whatever follows the load frame
      host.send(2, job.id, 0, 0, attack(job.id))
      expect((await ended.promise)?.code).toBe('E_EXECUTOR_LOST')
      await host.exited
      expect(host.alive).toBe(false)
    })
  }
})

it('probing says what is there', async () => {
  const report = await probeJail()
  expect(['process', 'jailed']).toContain(report.grade)
  expect(report.hint === undefined).toBe(report.missing.length === 0)
  const none = await probe(['none'], hostEntry())
  expect(none).toMatchObject({ grade: 'process', hint: 'Install bubblewrap and allow it to make namespaces.' })
})
