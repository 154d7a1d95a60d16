/**
 * Work in sandboxes as it is done: servers inside that are seen from here, package managers that find the way out by themselves, and all of it together from one node
 * on another. Two real daemons, a real engine, an image with the tools. Without an engine these are skipped, loudly.
 */
import { execFile, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import type { RequestListener } from 'node:http'
import { connect } from 'node:net'
import { join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { Mesh, PolicyRuleInput, Sandbox, SandboxOptions } from '../../sdk/src/index.ts'
import { ask, findTestEngine } from '../support/docker-engine.ts'
import { EgressKit, WORLD } from '../support/egress-kit.ts'
import { RealMesh, type RealNode, until } from '../support/real-mesh.ts'
import { aptRepository, npmRegistry, pipIndex } from '../support/tiny-packages.ts'
import { makeToolsImage, type ToolsImage } from '../support/tools-image.ts'

const run = promisify(execFile)
const found = await findTestEngine()
const able = found.engine !== undefined && process.geteuid?.() === 0
const LIMITS = { memoryBytes: 512 << 20, diskBytes: 64 << 20, tmpBytes: 32 << 20, inodes: 5_000, pids: 256 }

const EXAMPLE = fileURLToPath(new URL('../../examples/sandbox/main.ts', import.meta.url))
const CANARY = `canary-${randomBytes(12).toString('hex')}`
/** Stands in the project: what the search for the other must find */
const MARK = `mark-${randomBytes(12).toString('hex')}`

/** HTTP with WebSockets on one port, bytes sent back on another. */
const SERVER = `
import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import { createServer as tcp } from 'node:net'
const web = createServer((request, response) => request.pipe(response.setHeader('x-path', request.url)))
web.on('upgrade', (request, socket) => {
  const accept = createHash('sha1').update(request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11')
  const head = ['HTTP/1.1 101 Switching Protocols', 'Upgrade: websocket', 'Connection: Upgrade']
  socket.write([...head, 'Sec-WebSocket-Accept: ' + accept.digest('base64'), '', ''].join('\\r\\n'))
  socket.on('data', (frame) => {
    const mask = frame.subarray(2, 6)
    const text = frame.subarray(6, 6 + (frame[1] & 127)).map((byte, at) => byte ^ mask[at % 4])
    socket.write(Buffer.concat([Buffer.from([frame[0], text.length]), text]))
    if ((frame[0] & 15) === 8) socket.end()
  })
})
web.listen(3000, '127.0.0.1')
tcp({ allowHalfOpen: true }, (socket) => socket.pipe(socket)).listen(4000, '127.0.0.1', () => console.log('ready'))
`

describe.skipIf(!able)('work in sandboxes', { timeout: 120_000 }, () => {
  const world = new EgressKit()
  let mesh: RealMesh
  let alice: RealNode
  let bob: RealNode
  let sdk: Mesh
  let image: ToolsImage

  beforeAll(async () => {
    const { socket, host, image: plain } = found.engine ?? { socket: '', host: '', image: '' }
    image = await makeToolsImage(socket)
    const cas = join(world.folder, 'world.pem')
    await writeFile(cas, WORLD.certificatePem)
    const settings = {
      'sandbox.engine': host,
      'sandbox.image': plain,
      'sandbox.warmEach': '0',
      'sandbox.buildInContainers': 'true',
      'egress.dnsServers': `127.0.0.1:${await world.resolver()}`,
      'egress.caFiles': cas,
    }
    mesh = await RealMesh.start({ name: 'alice', settings }, { name: 'bob', settings })
    ;[alice, bob] = mesh.nodes as [RealNode, RealNode]
    sdk = await alice.sdk()
    await until(
      async () => (await sdk.capabilities('sandbox')).some(({ nodes }) => nodes.length === 2),
      'both nodes offer sandboxes',
    )
  }, 120_000)
  afterEach(async () => {
    for (const { id } of await sdk.sandboxes.list()) await (await sdk.sandboxes.get(id)).remove()
    for (const { id } of await sdk.policy.list()) await sdk.policy.remove(id)
  }, 60_000)
  afterAll(async () => {
    await mesh?.close()
    await world.close()
  }, 60_000)

  const make = (options: SandboxOptions): Promise<Sandbox> =>
    sdk.sandbox({ image: image.name, limits: LIMITS, isolation: 'jailed', ...options })
  /** What a script that must go well says. */
  const sh = async (box: Sandbox, script: string): Promise<string> => {
    const { ok, stdout, stderr } = await box.exec(['sh', '-ec', script], { timeout: 60_000 })
    if (!ok) throw new Error(`${script}: ${stdout}${stderr}`)
    return stdout
  }
  /** Hosts of this test are on this host, so its address is named. */
  const allow = (host: string, port: number, more: Partial<PolicyRuleInput> = {}) =>
    sdk.policy.allow({
      ...{ for: ['any'], host: world.name(host), ports: [port], addresses: ['127.0.0.1/32'], methods: ['GET', 'HEAD'] },
      ...more,
    })

  for (const where of ['local', 'bob']) {
    test(`ports of a sandbox on ${where}: HTTP, WebSocket and raw TCP, by the SDK and by the command`, async () => {
      const box = await make({ on: where, name: `ports-${where}` })
      await box.files.write('server.mjs', SERVER)
      const server = await box.start(['node', 'server.mjs'])
      await server.waitForLog('ready')

      await using web = await box.port(3000)
      const body = randomBytes(2 << 20)
      const answers = await Promise.all(
        Array.from({ length: 8 }, (_, n) => fetch(`${web.url}/${n}`, { method: 'POST', body })),
      )
      expect(answers.map(({ headers }) => headers.get('x-path'))).toEqual(answers.map((_, n) => `/${n}`))
      for (const answer of answers) expect(Buffer.compare(Buffer.from(await answer.arrayBuffer()), body)).toBe(0)
      expect(await spoken(`ws://127.0.0.1:${web.port}/`, ['one', 'two'])).toEqual(['one', 'two'])

      await using raw = await box.port(4000)
      expect(Buffer.compare(await echoed(raw.port, body), body)).toBe(0)

      await using command = await opened(alice, box.id, '4000')
      expect((await echoed(command.port, Buffer.from('by the command'))).toString()).toBe('by the command')
      await command[Symbol.asyncDispose]()
      await expect(echoed(command.port, Buffer.from('closed'))).rejects.toThrow('ECONNREFUSED')
      await web.close()
      await expect(fetch(web.url)).rejects.toThrow()
    })
  }

  test('curl, git, npm, pip, apt and Node find the way out of a sandbox by themselves', async () => {
    const git = await world.https('git.test', filesOf(await bareRepository(world.folder)))
    const npm = await world.https('npm.test', npmRegistry('https'))
    const pip = await world.https('pip.test', pipIndex())
    const apt = await world.http(aptRepository())
    await Promise.all([allow('git.test', git), allow('npm.test', npm), allow('pip.test', pip), allow('apt.test', apt)])

    const box = await make({ on: 'bob', name: 'tools' })
    expect(await sh(box, `curl -sS https://git.test:${git}/repo.git/HEAD`)).toContain('ref: refs/heads/')
    const program = `console.log(await (await fetch('https://git.test:${git}/repo.git/HEAD')).text())`
    expect((await box.exec(['node', '--input-type=module', '-e', program])).stdout).toContain('ref: refs/heads/')
    expect(await sh(box, `git clone -q https://git.test:${git}/repo.git && cat repo/file`)).toBe('cloned\n')
    if (image.has.has('npm')) {
      await sh(box, `npm install small --registry https://npm.test:${npm}/`)
      expect(await sh(box, `node --input-type=module -e "console.log((await import('small')).default)"`)).toBe('42\n')
    }
    if (image.has.has('pip')) {
      await sh(box, `python3 -m pip install --target lib --index-url https://pip.test:${pip}/simple small`)
      expect(await sh(box, 'PYTHONPATH=lib python3 -c "import small; print(small.answer)"')).toBe('42\n')
    }
    if (image.has.has('apt')) {
      const root = await make({ on: 'bob', profile: 'build' })
      const source = `deb [trusted=yes] http://apt.test:${apt}/ ./`
      await sh(root, `echo '${source}' > /etc/apt/sources.list; apt-get update; apt-get install -y small`)
      expect(await sh(root, 'cat /opt/small')).toBe('answer\n')
    }
    // What no rule names stays shut
    expect((await box.exec(['curl', '-sS', 'https://other.test/'])).stderr).toContain('403')
  })

  test('examples/sandbox does what it says', async () => {
    const [node = ''] = alice.command()
    const { stdout } = await run(node, [EXAMPLE, image.name], { env: alice.environment(), timeout: 60_000 })
    expect(stdout).toContain('6. A request left with a key that is nowhere inside')
    expect(await sdk.sandboxes.list()).toEqual([])
    expect(await sdk.services.list()).toEqual([])
  })

  test.skipIf(!existsSync('/usr/bin/npm'))(
    'from one node on another: clone, install, build, test, serve, be killed, be restored, push; and a secret used on the way is nowhere',
    async () => {
      const shown: (string | undefined)[] = []
      const registry = npmRegistry('https')
      const port = await world.https('registry.test', (request, response) => {
        shown.push(request.headers.authorization)
        if (request.headers.authorization === `Bearer ${CANARY}`) registry(request, response)
        else response.writeHead(401).end()
      })
      await sdk.secrets.set('registry', CANARY)
      await allow('registry.test', port, {
        for: ['sandbox/worker'],
        inject: [{ header: 'authorization', secret: 'registry' }],
      })
      const project = await sdk.artifacts.create({ name: 'project' })
      await project.commit({ message: 'Begin', files: projectFiles(port) })

      const box = await make({ on: 'bob', name: 'worker', artifact: 'project' })
      expect(box.view).toMatchObject({ nodeName: 'bob', artifact: { name: 'project' } })
      await sh(box, 'npm install')
      await sh(box, 'npm run build')
      expect(await sh(box, 'npm test')).toMatch(/pass 1\b/)
      const server = await box.start(['node', 'server.mjs'])
      await server.waitForLog('ready')
      await using open = await box.port(3000)
      expect(await (await fetch(open.url)).text()).toBe('built of 42')

      await box.snapshot('built')
      await sh(box, 'rm -r dist node_modules')
      const containers = await ask(socketOf(), 'GET', '/containers/json')
      const [, container] =
        new RegExp(`"Id":"([0-9a-f]{64})","Names":\\["/manyhands-${box.id}-`).exec(containers.text) ?? []
      expect((await ask(socketOf(), 'POST', `/containers/${container}/kill`)).status).toBe(204)
      await until(async () => (await box.refresh()).state !== 'running', 'its end to be seen')
      await box.restore('built')
      expect(await box.files.readText('dist/answer')).toBe('built of 42')
      expect(await sh(box, 'npm test')).toMatch(/pass 1\b/)

      await sh(box, 'git checkout -q -b result; git add -f dist; git commit -qm Built; git push -q origin result')
      expect(await project.readText('dist/answer', { rev: 'result' })).toBe('built of 42')
      expect((await project.audit()).records.map(({ by }) => by.subject)).toContain('sandbox/worker')

      expect(shown.length).toBeGreaterThan(1)
      expect(new Set(shown)).toEqual(new Set([`Bearer ${CANARY}`]))
      const inside = await box.exec([
        'sh',
        '-c',
        'env; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr "\\0" "\\n"; cat .npmrc; ls -a ~; grep -rhao "[c]anary-.*\\|[m]ha_.*" /workspace /tmp /home /run /etc /root /var',
      ])
      expect(inside.stdout).toContain(`registry.test:${port}`)
      expect(inside.stdout).not.toMatch(/canary-|mha_/)
      const described = await ask(socketOf(), 'GET', `/containers/json?all=1`)
      expect(described.text).toContain(box.id)
      const said = JSON.stringify([described.text, await sdk.secrets.list(), await sdk.egress.recent(), box.view])
      expect(said).not.toContain(CANARY)

      // Asleep its disk is whole on disk
      await box.sleep()
      const marked = await holders(bob.home, MARK)
      expect(marked.some((path) => path.includes('/sandboxes/'))).toBe(true)
      expect(await holders(bob.home, CANARY)).toEqual([])
      expect(await holders(bob.home, 'mha_')).toEqual([])
      expect(await holders(alice.home, CANARY)).toEqual([])
      // In repositories it would be compressed
      const kept = await objectsBelow(alice.home)
      expect(kept).toContain(MARK)
      expect(kept).not.toContain(CANARY)
    },
  )
})

const socketOf = (): string => found.engine?.socket ?? ''

/** A project that is built of a package, with a test and a server. */
function projectFiles(registryPort: number): { path: string; text: string }[] {
  const manifest = {
    ...{ name: 'project', version: '1.0.0', type: 'module', dependencies: { small: '1.0.0' } },
    scripts: { build: 'node build.mjs', test: 'node --test --test-reporter=tap' },
  }
  const files: Record<string, string> = {
    'README.md': `${MARK}\n`,
    'package.json': JSON.stringify(manifest),
    '.npmrc': `registry=https://registry.test:${registryPort}/\nfund=false\naudit=false\n`,
    '.gitignore': 'node_modules\ndist\n',
    'build.mjs':
      "import { mkdirSync, writeFileSync } from 'node:fs'\nimport small from 'small'\nmkdirSync('dist')\nwriteFileSync('dist/answer', 'built of ' + small)\n",
    'answer.test.mjs':
      "import { equal } from 'node:assert'\nimport { readFileSync } from 'node:fs'\nimport { test } from 'node:test'\ntest('built', () => equal(readFileSync('dist/answer', 'utf8'), 'built of 42'))\n",
    'server.mjs':
      "import { readFileSync } from 'node:fs'\nimport { createServer } from 'node:http'\ncreateServer((_, response) => response.end(readFileSync('dist/answer'))).listen(3000, '127.0.0.1', () => console.log('ready'))\n",
  }
  return Object.entries(files).map(([path, text]) => ({ path, text }))
}

/** A repository that any server of files can serve. */
async function bareRepository(folder: string): Promise<string> {
  const source = join(folder, 'source')
  const git = (...args: string[]) => run('git', ['-c', 'user.name=t', '-c', 'user.email=t@t', ...args])
  await git('init', '-q', source)
  await writeFile(join(source, 'file'), 'cloned\n')
  await git('-C', source, 'add', 'file')
  await git('-C', source, 'commit', '-qm', 'first')
  await git('clone', '-q', '--bare', source, join(folder, 'www', 'repo.git'))
  await git('-C', join(folder, 'www', 'repo.git'), 'update-server-info')
  return join(folder, 'www')
}

const filesOf =
  (folder: string): RequestListener =>
  (request, response) => {
    const path = join(folder, normalize(new URL(request.url ?? '/', 'http://h').pathname))
    readFile(path).then(
      (bytes) => response.end(bytes),
      () => response.writeHead(404).end(),
    )
  }

/** Files below a folder that hold these bytes. Looks again when one went meanwhile: repositories are packed in the background, and its content is elsewhere then. */
async function holders(folder: string, text: string): Promise<string[]> {
  for (;;) {
    const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(unlessGone)
    const found: string[] = []
    let whole = entries !== undefined
    for (const entry of entries ?? []) {
      const path = join(entry.parentPath, entry.name)
      const bytes = entry.isFile() ? await readFile(path).catch(unlessGone) : Buffer.alloc(0)
      if (bytes?.includes(text)) found.push(path)
      whole &&= bytes !== undefined
    }
    if (whole) return found
  }
}

function unlessGone(error: unknown): undefined {
  if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error
}

/** What a server says to texts, one after the other. */
async function spoken(url: string, texts: readonly string[]): Promise<unknown[]> {
  const socket = new WebSocket(url)
  await once(socket, 'open')
  const heard: unknown[] = []
  for (const text of texts) {
    const next = new Promise<unknown>((resolve) => {
      socket.addEventListener('message', ({ data }) => resolve(data), { once: true })
    })
    socket.send(text)
    heard.push(await next)
  }
  socket.close()
  await once(socket, 'close')
  return heard
}

/** What comes back from a port of this host until its end, which comes after ours. */
function echoed(port: number, bytes: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = []
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true }, () => socket.end(bytes))
    socket.on('data', (part) => void parts.push(part))
    socket.on('error', reject)
    socket.on('end', () => resolve(Buffer.concat(parts)))
  })
}

/** `manyhands sandbox port` until it is disposed of, which is Ctrl-C. */
async function opened(node: RealNode, id: string, port: string): Promise<{ port: number } & AsyncDisposable> {
  const [program = '', ...args] = node.command('sandbox', 'port', id, port, '--local', '0', '--wait', '10s', '--json')
  const child = spawn(program, args, { env: node.environment(), stdio: ['ignore', 'pipe', 'inherit'] })
  const [said] = (await once(child.stdout, 'data')) as [Buffer]
  return {
    port: (JSON.parse(said.toString()) as { port: number }).port,
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null) return
      const ended = once(child, 'exit')
      child.kill('SIGINT')
      await ended
    },
  }
}

/** Every object of every repository below a folder. */
async function objectsBelow(folder: string): Promise<string> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const repositories = entries.filter((entry) => entry.isDirectory() && entry.name === 'objects')
  const texts = repositories.map(async ({ parentPath }) => {
    const all = ['--git-dir', parentPath, 'cat-file', '--batch-all-objects', '--batch']
    const { stdout } = await run('git', all, { encoding: 'latin1', maxBuffer: 64 << 20 })
    return stdout
  })
  return (await Promise.all(texts)).join()
}
