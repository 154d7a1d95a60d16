/**
 * The door as guests use it: common tools find it by their environment alone, and a container without a network reaches it on its own loopback, and nothing else
 * (SBX-07, SBX-08).
 */
import { execFile, execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { networkInterfaces } from 'node:os'
import { dirname, join, normalize } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { OpenDoor } from '../../daemon/egress/egress.ts'
import { DOOR_PORT } from '../../daemon/egress/kit.ts'
import { findTestEngine, runLabel } from '../support/docker-engine.ts'
import { collect, EgressKit } from '../support/egress-kit.ts'
import { npmRegistry, pipIndex } from '../support/tiny-packages.ts'

const run = promisify(execFile)
const CANARY = 'canary-guest-5521'
const kit = new EgressKit()
let door: OpenDoor

beforeAll(async () => {
  await kit.start()
  await kit.egress.secrets.set('token', CANARY)
})
beforeEach(() => kit.reset())
afterEach(() => door.close())
afterAll(() => kit.close())

const installed = (tool: string): boolean => {
  try {
    execFileSync('which', [tool], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** What the kit puts into a guest, put into a folder, with the door on a port of this host's loopback. */
async function guestEnv(): Promise<Record<string, string>> {
  const root = join(kit.folder, 'guest')
  for (const { path, content, mode } of door.files) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), content)
    chmodSync(join(root, path), mode)
  }
  const server = createServer(
    (socket) =>
      void socket
        .pipe(connect(door.socketPath))
        .on('error', () => socket.destroy())
        .pipe(socket)
        .on('error', () => undefined),
  )
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  kit.onClose(() => server.close())
  const { port } = server.address() as AddressInfo
  const local = (value: string) =>
    value.replace(`127.0.0.1:${DOOR_PORT}`, `127.0.0.1:${port}`).replace(/^\/run\//, `${root}/run/`)
  const env = Object.fromEntries(Object.entries(door.env).map(([name, value]) => [name, local(value)]))
  return { ...env, PATH: process.env['PATH'] ?? '', HOME: root, GIT_CONFIG_NOSYSTEM: '1' }
}

/** Files of a folder over https, for whoever shows the token. */
function files(host: string, folder: string): Promise<number> {
  return kit.https(host, (request, response) => {
    const path = join(folder, normalize(new URL(request.url ?? '/', 'http://h').pathname))
    if (request.headers.authorization?.includes(CANARY) !== true) response.writeHead(401).end()
    else if (!existsSync(path)) response.writeHead(404).end()
    else response.end(readFileSync(path))
  })
}

test.skipIf(!installed('curl') || !installed('git'))(
  'curl and git clone over https, with a credential the guest does not hold',
  async () => {
    const source = join(kit.folder, 'source')
    const git = (...args: string[]) =>
      execFileSync('git', ['-c', 'user.name=t', '-c', 'user.email=t@t', ...args], { stdio: 'pipe' })
    git('init', '-q', source)
    writeFileSync(join(source, 'file'), 'from the repository\n')
    git('-C', source, 'add', 'file')
    git('-C', source, 'commit', '-qm', 'first')
    git('clone', '-q', '--bare', source, join(kit.folder, 'www', 'repo.git'))
    git('-C', join(kit.folder, 'www', 'repo.git'), 'update-server-info')
    const port = await files('git.test', join(kit.folder, 'www'))
    await kit.allow({
      host: 'git.test',
      ports: [port],
      methods: ['GET'],
      inject: [{ header: 'authorization', secret: 'token' }],
    })
    door = await kit.egress.open({ agent: 'ci' })
    const env = await guestEnv()
    const { stdout } = await run('curl', ['-sS', `https://git.test:${port}/repo.git/HEAD`], { env })
    expect(stdout).toContain('ref: refs/heads/')
    await run('git', ['clone', '-q', `https://git.test:${port}/repo.git`, join(kit.folder, 'clone')], { env })
    expect(readFileSync(join(kit.folder, 'clone', 'file'), 'utf8')).toBe('from the repository\n')
    const refused = await run('curl', ['-sS', 'https://other.test/'], { env }).catch(
      (error: { stderr: string }) => error.stderr,
    )
    expect(refused).toContain('403')
    expect(JSON.stringify(env)).not.toContain(CANARY)
  },
)

test('Node fetch, through the environment alone', async () => {
  const port = await kit.https('api.test', (request, response) =>
    response.end(request.headers['x-key'] === CANARY ? 'right' : 'wrong'),
  )
  await kit.allow({ host: 'api.test', ports: [port], inject: [{ header: 'x-key', secret: 'token' }] })
  door = await kit.egress.open({ agent: 'ci' })
  const program = `process.stdout.write(await (await fetch('https://api.test:${port}/')).text())`
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', program], { env: await guestEnv() })
  expect(stdout).toBe('right')
})

test.skipIf(!installed('npm'))('npm installs from a registry', async () => {
  const port = await kit.https('npm.test', npmRegistry('https'))
  await kit.allow({ host: 'npm.test', ports: [port], methods: ['GET'] })
  door = await kit.egress.open({ agent: 'ci' })
  const folder = join(kit.folder, 'project')
  mkdirSync(folder)
  await run(
    'npm',
    [
      'install',
      'small',
      '--registry',
      `https://npm.test:${port}/`,
      '--no-audit',
      '--no-fund',
      '--no-update-notifier',
      '--fetch-retries=0',
    ],
    { env: await guestEnv(), cwd: folder },
  )
  expect(readFileSync(join(folder, 'node_modules/small/package.json'), 'utf8')).toContain('1.0.0')
})

test.skipIf(!installed('pip3'))('pip downloads from an index', async () => {
  const port = await kit.https('pypi.test', pipIndex())
  await kit.allow({ host: 'pypi.test', ports: [port], methods: ['GET'] })
  door = await kit.egress.open({ agent: 'ci' })
  const env = await guestEnv()
  const { stdout } = await run(
    'pip3',
    ['index', 'versions', 'small', '--index-url', `https://pypi.test:${port}/simple`, '--disable-pip-version-check'],
    { env },
  )
  expect(stdout).toContain('1.0')
})

const found = process.geteuid?.() === 0 ? await findTestEngine() : { missing: 'not root' }

describe.skipIf(found.engine === undefined)('in a container without a network', () => {
  const engine = found.engine
  const docker = async (...args: string[]): Promise<string> => {
    const { stdout } = await run('docker', args, { env: { ...process.env, DOCKER_HOST: engine?.host } })
    return stdout.trim()
  }
  let id = ''

  beforeAll(async () => {
    id = await docker(
      'run',
      '-d',
      '--network',
      'none',
      '--label',
      `test.run=${runLabel()}`,
      engine?.image ?? '',
      'sleep',
      '300',
    )
  })
  afterAll(async () => {
    if (id !== '') await docker('rm', '-f', id)
    await engine?.close()
  })

  const inside = async (command: string): Promise<string> => {
    const env = Object.entries(door.env).flatMap(([name, value]) => ['-e', `${name}=${value}`])
    return docker('exec', ...env, id, 'sh', '-c', command).catch(
      (error: { stdout?: string; stderr?: string }) => `${error.stdout}${error.stderr}`,
    )
  }

  test('SBX-07 SBX-08 the door is on its loopback, and it is the only way: no engine, no host, no API, directly or through it', async () => {
    const port = await kit.http((_request, response) => response.end('through the door'))
    await kit.allow({ host: kit.name('web.test'), ports: [port] })
    await kit.egress.policy.put({ for: ['any'], effect: 'allow', host: '*', ports: [22, 80, 443, 2375, 2376, port] })
    door = await kit.egress.open({ sandbox: 'box' })
    const pid = Number(await docker('inspect', '-f', '{{.State.Pid}}', id))
    await door.lead({ kind: 'namespace', pid })
    expect(await inside(`wget -q -O - http://web.test:${port}/`)).toBe('through the door')
    const own = Object.values(networkInterfaces())
      .flatMap((all) => all ?? [])
      .filter(({ family }) => family === 'IPv4')
      .map(({ address }) => address)
    for (const address of own) {
      for (const target of [port, 2375, 2376]) {
        // there is no route to it, and for the door it is an address of this host
        expect(await inside(`nc -w 2 ${address} ${target} </dev/null && echo reached`)).not.toContain('reached')
        const asked = `GET http://${address}:${target}/ HTTP/1.1\\r\\nHost: ${address}:${target}\\r\\nConnection: close\\r\\n\\r\\n`
        expect(await inside(`printf '${asked}' | nc 127.0.0.1 ${DOOR_PORT}`)).toMatch(
          /^HTTP\/1.1 403[^]*(?:own|loopback)-address/,
        )
      }
    }
    expect(await inside('env; cat /proc/self/environ; ls /var/run/docker.sock /run/docker.sock')).not.toMatch(
      /DOCKER_HOST|^\/(var\/)?run\/docker\.sock$/m,
    )
    expect(await inside('cat /proc/net/dev | grep -c :')).toBe('1')
  })

  test('it is led in again when the proxy has died, and is gone when it is closed', async () => {
    const port = await kit.http((_request, response) => response.end('again'))
    await kit.allow({ host: kit.name('web.test'), ports: [port] })
    door = await kit.egress.open({ sandbox: 'box' })
    const pid = Number(await docker('inspect', '-f', '{{.State.Pid}}', id))
    await door.lead({ kind: 'namespace', pid })
    const { restarts } = kit.egress.state()
    process.kill(kit.proxyPid(), 'SIGKILL')
    const end = Date.now() + 15_000
    while (
      kit.egress.state().restarts === restarts ||
      !(await inside(`timeout 3 wget -q -O - http://web.test:${port}/`)).includes('again')
    ) {
      if (Date.now() > end) throw new Error('it did not come back')
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    await door.close()
    expect(await inside(`timeout 3 wget -q -O - http://web.test:${port}/ && echo reached`)).not.toContain('again')
  })

  test('where the network cannot be entered it says so', async () => {
    door = await kit.egress.open({ sandbox: 'box' })
    await expect(door.lead({ kind: 'namespace', pid: 2 ** 22 - 1 })).rejects.toMatchObject({ code: 'E_EGRESS' })
  })
})

test('an agent inside a guest can lead the door in, too', async () => {
  const port = await kit.http((_request, response) => response.end('by the agent'))
  await kit.allow({ host: kit.name('web.test'), ports: [port] })
  door = await kit.egress.open({ sandbox: 'box' })
  const server = createServer({ allowHalfOpen: true })
  await door.lead({
    kind: 'guest',
    guest: {
      listen: async (wanted, onConnection) => {
        expect(wanted).toBe(DOOR_PORT)
        server.on('connection', (socket) =>
          onConnection({
            readable: socket.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>,
            write: async (bytes) => void socket.write(bytes),
            end: () => socket.end(),
            close: () => socket.destroy(),
          }),
        )
        server.listen(0, '127.0.0.1')
        await once(server, 'listening')
        return { close: () => void server.close() }
      },
    },
  })
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  socket.write(`GET http://web.test:${port}/ HTTP/1.1\r\nHost: web.test:${port}\r\nConnection: close\r\n\r\n`)
  expect(await collect(socket)).toContain('by the agent')
})
