/** The `manyhands` command as installed: its bin, a detached daemon, signals and exit codes. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { constants, existsSync } from 'node:fs'
import { chmod, copyFile, type FileHandle, mkdir, mkdtemp, open, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { isRunning } from '../../daemon/cli/is-running.ts'

const bin = join(import.meta.dirname, '..', '..', 'bin', 'manyhands.mjs')
let home: string
let env: NodeJS.ProcessEnv

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'mh-bin-'))
  env = { ...process.env, MANYHANDS_HOME: home, MANYHANDS_DISCOVERY_MDNS: 'false' }
})
afterAll(async () => {
  spawnSync(process.execPath, [bin, 'down', '--timeout', '20s'], { env })
  await rm(home, { recursive: true, force: true })
})

const run = (...args: string[]) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [bin, ...args], {
    env,
    encoding: 'utf8',
    timeout: 60_000,
  })
  return { status, stdout, stderr }
}

function exitOf(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve) => child.once('exit', resolve))
}

/** Opens a named pipe for writing once somebody reads it. */
async function openWhenRead(pipe: string): Promise<FileHandle> {
  let writer: FileHandle | undefined
  await expect
    .poll(async () => (writer = await open(pipe, constants.O_WRONLY | constants.O_NONBLOCK).catch(() => undefined)), {
      timeout: 30_000,
    })
    .toBeDefined()
  if (!writer) throw new Error('Nobody reads the pipe')
  return writer
}

/** A user without an entry; the clone may lie where only its owner gets to */
const STRANGER = 54_321
const strangerReads =
  process.getuid?.() === 0 &&
  spawnSync(process.execPath, ['-e', `require('node:fs').accessSync(${JSON.stringify(bin)})`], { uid: STRANGER })
    .status === 0
if (!strangerReads)
  console.warn('SKIPPED: a user without an entry: only root may become one, where others may read the clone')

describe('bin/manyhands.mjs', () => {
  it('passes answers and exit codes on', () => {
    expect(run('version')).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) as unknown,
      stderr: '',
    })
    expect(run('frobnicate')).toMatchObject({ status: 64, stdout: '' })
    expect(run('status')).toMatchObject({ status: 69, stdout: '' })
  })

  it('tells a full disk behind standard output, and leaves quietly when nobody reads it', () => {
    const shell = (script: string) =>
      spawnSync('bash', ['-c', script, process.execPath, bin], { env, encoding: 'utf8', timeout: 60_000 })
    expect(shell('"$0" "$1" paths > /dev/full')).toMatchObject({
      status: 74,
      stderr: 'error: Cannot write the output: no space left on device [E_STORAGE]\n',
    })
    expect(shell('exec 3> >(true); wait $!; "$0" "$1" paths >&3')).toMatchObject({ status: 141, stderr: '' })
  })

  it('says what to do in a clone that is not set up', async () => {
    const clone = join(home, 'clone')
    await mkdir(join(clone, 'bin'), { recursive: true })
    await mkdir(join(clone, 'daemon', 'cli'), { recursive: true })
    await copyFile(bin, join(clone, 'bin', 'manyhands.mjs'))
    await writeFile(join(clone, 'daemon', 'cli', 'main.ts'), "import 'commander'\n")
    const { status, stdout, stderr } = spawnSync(process.execPath, [join(clone, 'bin', 'manyhands.mjs'), 'paths'], {
      env,
      encoding: 'utf8',
    })
    expect([status, stdout]).toEqual([78, ''])
    expect(stderr).toBe(
      `error: this clone is not set up yet: its packages are not installed\nhint: in ${clone}, run: npm run setup\n`,
    )
  })

  it.runIf(strangerReads)('serves a user that has no entry and no HOME, as in a bare container', () => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [bin, 'paths', '--json'], {
      env: { PATH: process.env['PATH'], MANYHANDS_HOME: home },
      uid: STRANGER,
      encoding: 'utf8',
    })
    expect([status, stderr]).toEqual([0, ''])
    expect(JSON.parse(stdout)).toMatchObject({ dataDir: join(home, 'data') })
  })

  it.each(['', 'relative'])(
    'takes a HOME of "%s" for none: the folders are those of the user, wherever it is typed',
    (HOME) => {
      const { MANYHANDS_HOME: _, XDG_DATA_HOME: __, XDG_CACHE_HOME: ___, ...bare } = env
      const { status, stdout } = spawnSync(process.execPath, [bin, 'paths', '--json'], {
        cwd: home,
        env: { ...bare, HOME, XDG_CACHE_HOME: join(home, 'own-cache') },
        encoding: 'utf8',
      })
      expect(status).toBe(0)
      expect(JSON.parse(stdout)).toMatchObject({ dataDir: join(userInfo().homedir, '.local/share/manyhands') })
    },
  )

  it('keeps compiled code where nobody else can put any, whatever the umask, and uses no other', async () => {
    const folder = join(home, 'open-umask')
    const paths = () =>
      spawnSync('sh', ['-c', 'umask 0; exec "$0" "$1" paths', process.execPath, bin], {
        env: { ...env, MANYHANDS_HOME: folder },
      })
    expect(paths().status).toBe(0)
    const compiled = join(folder, 'cache', 'compile')
    expect((await stat(compiled)).mode & 0o777).toBe(0o700)
    expect(await readdir(compiled)).toHaveLength(1)
    await rm(compiled, { recursive: true })
    await mkdir(compiled)
    await chmod(compiled, 0o777)
    expect(paths().status).toBe(0)
    expect(await readdir(compiled)).toEqual([])
  })

  it('ends as it does when asked to, its socket gone, when its terminal is closed', { timeout: 60_000 }, async () => {
    const folder = join(home, 'hangup')
    const daemon = spawn(process.execPath, [bin, 'up', '--json'], {
      env: { ...env, MANYHANDS_HOME: folder },
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    const ended = exitOf(daemon)
    await once(daemon.stdout, 'data')
    daemon.kill('SIGHUP')
    daemon.kill('SIGHUP')
    expect(await ended).toBe(0)
    expect(existsSync(join(folder, 'run', 'daemon.sock'))).toBe(false)
  })

  it.runIf(strangerReads)('says which folder it may not use', { timeout: 60_000 }, async () => {
    await mkdir(join(home, 'closed'), { mode: 0o755 })
    await chmod(home, 0o755)
    for (const detach of [[], ['--detach']]) {
      const { status, stderr } = spawnSync(process.execPath, [bin, 'up', ...detach], {
        env: { PATH: process.env['PATH'], MANYHANDS_HOME: join(home, 'closed') },
        uid: STRANGER,
        encoding: 'utf8',
      })
      expect([status, stderr]).toEqual([
        77,
        expect.stringMatching(/^error: Cannot use .*closed.*: permission denied \[E_FORBIDDEN\]\nhint: /),
      ])
    }
  })

  it('starts a daemon of its own, uses it, and ends it', { timeout: 120_000 }, async () => {
    // Paths count from where they were typed, though the daemon runs elsewhere
    await writeFile(join(home, 'here.jsonc'), '{ "name": "solo", "net": { "listen": ["/ip4/127.0.0.1/tcp/0"] } }')
    const relative = basename(home)
    const up = spawnSync(process.execPath, [bin, 'up', '--detach', '--json', '--config', `${relative}/here.jsonc`], {
      cwd: dirname(home),
      env: { ...env, MANYHANDS_HOME: relative },
      encoding: 'utf8',
      timeout: 60_000,
    })
    expect(up).toMatchObject({ status: 0, stderr: '' })
    const { pid, name } = JSON.parse(up.stdout) as { pid: number; name: string }
    expect([name, existsSync(join('/', relative))]).toEqual(['solo', false])
    expect(run('up')).toMatchObject({ status: 65 })
    await writeFile(join(home, 'twice.ts'), 'export default (n: number): number => n * 2\n')
    expect(run('run', join(home, 'twice.ts'), '--input-json', '21')).toEqual({ status: 0, stdout: '42\n', stderr: '' })

    // Each says what to do; what the tasks say was stored and read again
    const twice = join(home, 'twice.ts')
    for (const [code, ...args] of [
      ['E_NO_CANDIDATE', 'run', twice, '--label', 'nowhere'],
      ['E_NOT_FOUND', 'run', twice, '--on', 'nobody'],
      ['E_NOT_FOUND', 'task', 'show', 'none'],
      ['E_NOT_FOUND', 'task', 'ls', '--after', 'none'],
      ['E_NOT_FOUND', 'policy', 'rm', 'none'],
      ['E_NOT_FOUND', 'revoke', 'none'],
    ] as const)
      expect(run(...args), args.join(' ')).toMatchObject({
        status: code === 'E_NOT_FOUND' ? 66 : 69,
        stderr: expect.stringMatching(new RegExp(`^error: .* \\[${code}\\]\\nhint: \\S`)) as unknown,
      })

    const lacking = [
      'policy',
      'allow',
      '--host',
      'example.com',
      '--inject',
      'Authorization=none',
      '--handler',
      'nobody',
    ]
    expect(run(...lacking)).toMatchObject({
      status: 0,
      stderr: expect.stringMatching(/^missing: secret none: .*\nmissing: handler nobody: /) as unknown,
    })

    const inputs = join(home, 'inputs.jsonl')
    // One that is told at the end of the file, and one that is told while results come
    for (const count of [1, 20_000]) {
      await writeFile(inputs, '"many hands make light work"\n'.repeat(count))
      await writeFile(join(home, 'same.js'), 'export default (text) => text\n')
      expect(run('map', join(home, 'same.js'), '--inputs', inputs, '--out', '/dev/full')).toMatchObject({
        status: 74,
        stderr:
          'error: Cannot write /dev/full: no space left on device [E_STORAGE]\nhint: Free space there, or name another place\n',
      })
    }
    await writeFile(inputs, '1\n')
    expect(run('map', twice, '--inputs', inputs, '--out', join(home, 'none', 'o'), '--name', 'nowhere').status).toBe(64)
    expect(run('task', 'ls', '--json').stdout, 'nothing was begun').not.toContain('"nowhere"')

    await writeFile(join(home, 'forever.js'), 'export default () => new Promise(() => {})\n')
    const waiting = spawn(process.execPath, [bin, 'run', join(home, 'forever.js'), '--name', 'forever'], {
      env,
      stdio: 'ignore',
    })
    const ended = exitOf(waiting)
    await expect.poll(() => run('task', 'ls', '--json').stdout, { timeout: 30_000 }).toContain('"forever"')
    waiting.kill('SIGINT')
    expect(await ended).toBe(130)
    await expect
      .poll(() => run('task', 'ls', '--state', 'canceled', '--json').stdout, { timeout: 30_000 })
      .toContain('"forever"')

    expect(run('down')).toMatchObject({ status: 0 })
    expect(isRunning(pid)).toBe(false)
    expect(run('status')).toMatchObject({ status: 69 })

    expect(run('up', '--detach', '--json', '--name', 'other')).toMatchObject({
      status: 0,
      stdout: expect.stringContaining('"name":"solo"') as unknown,
      stderr: expect.stringContaining('note: this node keeps its name, solo: ') as unknown,
    })
    expect(run('down')).toMatchObject({ status: 0 })
  })

  it('says why a detached start failed as one in the foreground does, with its exit code', { timeout: 60_000 }, () => {
    const failed = run('up', '--detach', '--set', 'no.such=key')
    expect(failed).toMatchObject({
      status: 78,
      stderr: expect.stringContaining('flag no.such: unknown key') as unknown,
    })
    expect(failed).toEqual(run('up', '--set', 'no.such=key'))
  })

  it('leaves no daemon behind when Ctrl-C ends the wait for its start', { timeout: 60_000 }, async () => {
    // It reads its configuration for as long as nobody closes the other end
    const pipe = join(home, 'endless.jsonc')
    expect(spawnSync('mkfifo', [pipe]).status).toBe(0)
    const waiting = spawn(process.execPath, [bin, 'up', '--detach', '--config', pipe], { env, stdio: 'ignore' })
    const ended = exitOf(waiting)
    const writer = await openWhenRead(pipe)
    try {
      waiting.kill('SIGINT')
      expect(await ended).toBe(130)
      await expect(writer.write('{}')).rejects.toMatchObject({ code: 'EPIPE' })
    } finally {
      await writer.close()
    }
  })
})
