/** The listeners themselves: THREATS API-07 and API-08. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { listenOnLoopback } from '../../daemon/api/listen.ts'
import { dial, send, startTestApi, type TestApi } from '../../daemon/api/testing/test-api.ts'

const homes: string[] = []
const open: TestApi[] = []
afterEach(async () => {
  await Promise.all(open.splice(0).map((api) => api.close()))
  for (const home of homes.splice(0)) rmSync(home, { recursive: true, force: true })
})
function newHome(): string {
  const home = mkdtempSync(join(tmpdir(), 'manyhands-socket-'))
  homes.push(home)
  return home
}
async function start(home: string): Promise<TestApi> {
  const api = await startTestApi({ home, tcp: false })
  open.push(api)
  return api
}
/** Leaves a socket that nobody listens on, as a killed daemon does. */
async function leaveStale(path: string): Promise<void> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  const script = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => console.log('up'))`
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(child.stdout, 'data')
  child.kill('SIGKILL')
  await once(child, 'exit')
  expect(existsSync(path)).toBe(true)
}

describe('API-07 the unix socket', () => {
  it('lies in a folder of ours alone', async () => {
    const api = await start(newHome())
    expect(statSync(dirname(api.paths.socket)).mode & 0o777).toBe(0o700)
    expect(statSync(api.paths.socket).mode & 0o777).toBe(0o600)
  })

  it.runIf(process.geteuid?.() === 0)('cannot be reached by another user', async () => {
    const home = newHome()
    chmodSync(home, 0o755)
    const api = await start(home)
    const script = `require('node:net').connect(${JSON.stringify(api.paths.socket)}).on('connect', () => process.exit(7)).on('error', (e) => { console.log(e.code); process.exit(0) })`
    const result = spawnSync(process.execPath, ['-e', script], { uid: 10_001, gid: 10_001, encoding: 'utf8' })
    // The other user may not even be able to run our Node: either way it did not connect
    expect(result.status).not.toBe(7)
    if (result.status === 0) expect(result.stdout.trim()).toBe('EACCES')
  })

  it('is replaced when its daemon is dead', async () => {
    const home = newHome()
    await leaveStale(join(home, 'run', 'daemon.sock'))
    const api = await start(home)
    expect((await send(api)).status).toBe(200)
  })

  it('is not replaced when its daemon lives', async () => {
    const home = newHome()
    const first = await start(home)
    await expect(startTestApi({ home, tcp: false })).rejects.toMatchObject({ code: 'E_ALREADY_RUNNING' })
    expect((await send(first)).status).toBe(200)
  })

  it('is not replaced when its daemon is too busy to answer', async () => {
    const home = newHome()
    const path = join(home, 'run', 'daemon.sock')
    mkdirSync(dirname(path), { mode: 0o700 })
    const script = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => console.log('up'))`
    const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
    try {
      await once(child.stdout, 'data')
      child.kill('SIGSTOP')
      await expect(startTestApi({ home, tcp: false })).rejects.toMatchObject({ code: 'E_ALREADY_RUNNING' })
    } finally {
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
  })

  it.each([
    ['a file', (path: string) => writeFileSync(path, 'precious')],
    ['a link', (path: string) => symlinkSync('/etc/passwd', path)],
    ['a folder', (path: string) => mkdirSync(path)],
  ])('does not remove %s in its place', async (_, plant) => {
    const home = newHome()
    const path = join(home, 'run', 'daemon.sock')
    mkdirSync(dirname(path), { mode: 0o700 })
    plant(path)
    await expect(startTestApi({ home, tcp: false })).rejects.toMatchObject({ code: 'E_INSECURE_FILE' })
    expect(existsSync(path)).toBe(true)
  })

  it('does not start in a folder that others can use, or that is swapped for a link', async () => {
    const shared = newHome()
    mkdirSync(join(shared, 'run'))
    chmodSync(join(shared, 'run'), 0o777)
    const swapped = newHome()
    mkdirSync(join(swapped, 'elsewhere'), { mode: 0o700 })
    symlinkSync(join(swapped, 'elsewhere'), join(swapped, 'run'))
    for (const home of [shared, swapped])
      await expect(startTestApi({ home, tcp: false })).rejects.toMatchObject({ code: 'E_INSECURE_FILE' })
  })

  it('is gone after the daemon has closed', async () => {
    const api = await start(newHome())
    const socket = await dial(api)
    await api.server.close(0)
    expect(existsSync(api.paths.socket)).toBe(false)
    socket.destroy()
  })
})

describe('API-08 wide binds', () => {
  it.each(['0.0.0.0', '::', '10.0.0.1', '::ffff:0.0.0.0', 'example.test', ''])(
    'refuses to listen on %j',
    async (host) => {
      const server = createServer()
      await expect(listenOnLoopback(server, host, 0)).rejects.toMatchObject({ code: 'E_WIDE_BIND' })
      expect(server.listening).toBe(false)
    },
  )

  it('stops the start, and leaves nothing open', async () => {
    const home = newHome()
    await expect(startTestApi({ home, flags: { 'api.host': '0.0.0.0' } })).rejects.toMatchObject({
      code: 'E_WIDE_BIND',
    })
    expect(existsSync(join(home, 'run', 'daemon.sock'))).toBe(false)
  })

  it('names the port that is taken', async () => {
    const home = newHome()
    const other = createServer()
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
    const address = other.address()
    const port = typeof address === 'object' && address ? address.port : 0
    await expect(startTestApi({ home, flags: { 'api.port': String(port) } })).rejects.toMatchObject({
      code: 'E_CONFIG',
    })
    expect(existsSync(join(home, 'run', 'daemon.sock'))).toBe(false)
    other.close()
  })
})
