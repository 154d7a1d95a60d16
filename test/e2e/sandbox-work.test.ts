/**
 * Work in sandboxes as it is done: servers inside that are seen from here, package managers that find the way out by themselves, and all of it together from one node
 * on another. Two real daemons, a real engine, an image with the tools. Without an engine these are skipped, loudly.
 */
import { execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { Mesh, Sandbox, SandboxOptions } from '../../sdk/src/index.ts'
import { findTestEngine } from '../support/docker-engine.ts'
import { EgressKit, WORLD } from '../support/egress-kit.ts'
import { RealMesh, type RealNode, until } from '../support/real-mesh.ts'
import { aptRepository, npmRegistry, pipIndex } from '../support/tiny-packages.ts'
import { makeToolsImage, type ToolsImage } from '../support/tools-image.ts'

const found = await findTestEngine()
const able = found.engine !== undefined && process.geteuid?.() === 0
const LIMITS = { memoryBytes: 512 << 20, diskBytes: 64 << 20, tmpBytes: 32 << 20, inodes: 5_000, pids: 256 }

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
  /** Both outputs of a script that must go well. */
  const sh = async (box: Sandbox, script: string): Promise<string> => {
    const { ok, stdout, stderr } = await box.exec(['sh', '-ec', script], { timeout: 60_000 })
    if (!ok) throw new Error(`${script}: ${stdout}${stderr}`)
    return stdout + stderr
  }
  /** Hosts of this test are on this host, so its address is named. */
  const allow = (host: string, port: number) =>
    sdk.policy.allow({ host, ports: [port], addresses: ['127.0.0.1/32'], methods: ['GET', 'HEAD'] })

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
})

/** What a server says to texts, one after the other. */
async function spoken(url: string, texts: readonly string[]): Promise<unknown[]> {
  const socket = new WebSocket(url)
  await once(socket, 'open')
  const heard: unknown[] = []
  for (const text of texts) {
    const next = once(socket, 'message')
    socket.send(text)
    const [{ data }] = (await next) as [MessageEvent]
    heard.push(data)
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
