/** A node's door with real sockets: the proxy process, servers it may reach, a resolver of the test's own, and a client that speaks raw bytes. */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createServer as createHttp, type RequestListener } from 'node:http'
import { createServer as createHttps } from 'node:https'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { Authority } from '../../daemon/egress/certificates.ts'
import type { AuditEntry, EgressDoor, OpenDoor } from '../../daemon/egress/egress.ts'
import { type EgressInit, openEgress } from '../../daemon/egress/open-egress.ts'
import type { RuleInput } from '../../protocol/egress/rule.ts'

/** Signs for the hosts of a test, as the authorities of the Internet would. */
export const WORLD = new Authority('test world', Date.now(), Buffer.alloc(32, 3))

export class EgressKit {
  readonly folder = mkdtempSync(join(tmpdir(), 'egress-'))
  readonly names = new Map<string, string[]>()
  readonly lookups: string[] = []
  readonly entries: AuditEntry[] = []
  readonly #closers: (() => unknown)[] = []
  #egress: EgressDoor | undefined

  get egress(): EgressDoor {
    if (this.#egress === undefined) throw new Error('not started')
    return this.#egress
  }

  async start(init: Partial<EgressInit> = {}): Promise<EgressDoor> {
    const port = await this.resolver()
    const at = (name: string) => join(this.folder, name)
    this.#egress = await openEgress({
      dataDir: at('data'),
      stateDir: at('state'),
      runDir: at('run'),
      self: 'self',
      dnsServers: [`127.0.0.1:${port}`],
      trustedCas: [WORLD.certificatePem],
      ...init,
    })
    this.#egress.audit.on((entry) => this.entries.push(entry))
    return this.#egress
  }

  /** As after the start, but for secrets: so that tests of a file can share one process. */
  async reset(): Promise<void> {
    for (const { id } of this.egress.policy.list()) await this.egress.policy.remove(id)
    this.names.clear()
    this.lookups.length = 0
    this.entries.length = 0
  }

  /** Adds an allow for any subject. Hosts of tests are on this host, so its address is named. */
  allow(rule: Omit<RuleInput, 'id' | 'for' | 'effect'> & Partial<RuleInput>) {
    const { id, ...rest } = { addresses: ['127.0.0.1/32'], for: ['any'], effect: 'allow' as const, ...rule }
    return this.egress.policy.put({ ...rest, ...(id === undefined ? {} : { id }) })
  }

  /** A name that the proxy's resolver knows. */
  name(host: string, ...addresses: string[]): string {
    this.names.set(host, addresses.length === 0 ? ['127.0.0.1'] : addresses)
    return host
  }

  async http(listener: RequestListener): Promise<number> {
    return this.#listen(createHttp(listener))
  }

  async https(host: string, listener: RequestListener): Promise<number> {
    const server = createHttps(
      { SNICallback: (name, done) => done(null, WORLD.contextFor(name, Date.now())) },
      listener,
    )
    this.name(host)
    return this.#listen(server)
  }

  async tcp(onSocket: (socket: Socket) => void): Promise<number> {
    return this.#listen(createServer({ allowHalfOpen: true }, onSocket))
  }

  /** Of the process that this kit's door started: of this process's children the one that is a proxy. */
  proxyPid(): number {
    const children = readdirSync(`/proc/${process.pid}/task`).flatMap((task) =>
      readFileSync(`/proc/${process.pid}/task/${task}/children`, 'utf8').trim().split(' '),
    )
    const found = children
      .filter((pid) => pid !== '')
      .find((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('egress/proxy/main'))
    if (found === undefined) throw new Error('no proxy runs')
    return Number(found)
  }

  onClose(close: () => unknown): void {
    this.#closers.push(close)
  }

  async #listen(server: Server): Promise<number> {
    const open = new Set<Socket>()
    server.on('connection', (socket: Socket) => {
      open.add(socket.on('error', () => undefined))
      socket.once('close', () => open.delete(socket))
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    this.onClose(() => {
      for (const socket of open) socket.destroy()
      server.close()
    })
    return (server.address() as AddressInfo).port
  }

  async close(): Promise<void> {
    await this.#egress?.close()
    for (const close of this.#closers.splice(0).reverse()) await close()
    rmSync(this.folder, { recursive: true, force: true })
  }

  /** A name server on a port of this host. Answers A and AAAA from `names`, with a time to live of 0. A name of the form [first, '|', then] changes after its first answer. */
  async resolver(): Promise<number> {
    const socket = createSocket('udp4')
    socket.on('message', (query, from) => {
      const answer = this.#answer(query)
      if (answer !== undefined) socket.send(answer, from.port, from.address)
    })
    socket.bind(0, '127.0.0.1')
    await once(socket, 'listening')
    this.onClose(() => socket.close())
    return socket.address().port
  }

  #answer(query: Buffer): Buffer | undefined {
    const labels: string[] = []
    let at = 12
    while ((query[at] ?? 0) > 0) {
      const length = query[at] ?? 0
      labels.push(query.toString('latin1', at + 1, at + 1 + length))
      at += length + 1
    }
    const name = labels.join('.').toLowerCase()
    const type = query.readUInt16BE(at + 1)
    const question = query.subarray(12, at + 5)
    const known = this.names.get(name)
    if (known?.[0] === 'silence') return undefined
    // Bytes that are no answer, and one to another question
    if (known?.[0] === 'garbage') return Buffer.alloc(400, 0xff)
    if (known?.[0] === 'forged') return Buffer.concat([Buffer.from([0, 0, 0x81, 0x80, 0, 1, 0, 1]), query.subarray(8)])
    const turn = this.lookups.filter((asked) => asked === `${name} ${type}`).length
    this.lookups.push(`${name} ${type}`)
    const split = known?.indexOf('|') ?? -1
    const now = split < 0 ? known : turn === 0 ? known?.slice(0, split) : known?.slice(split + 1)
    const records = (now ?? [])
      .filter((address) => address.includes(':') === (type === 28))
      .map((address) => record(address))
    const header = Buffer.from([
      query[0] ?? 0,
      query[1] ?? 0,
      0x81,
      known === undefined ? 0x83 : 0x80,
      0,
      1,
      0,
      records.length,
      0,
      0,
      0,
      0,
    ])
    return Buffer.concat([header, question, ...records])
  }
}

function record(address: string): Buffer {
  const groups = address.includes(':') ? new URL(`http://[${address}]`).hostname.slice(1, -1) : undefined
  const data = groups === undefined ? Buffer.from(address.split('.').map(Number)) : v6(groups)
  const head = Buffer.from([0xc0, 12, 0, data.length === 4 ? 1 : 28, 0, 1, 0, 0, 0, 0, 0, data.length])
  return Buffer.concat([head, data])
}

function v6(text: string): Buffer {
  const [head = '', tail] = text.split('::')
  const part = (groups: string) => groups.split(':').filter((group) => group !== '')
  const before = part(head)
  const after = tail === undefined ? [] : part(tail)
  const all = [...before, ...Array.from({ length: 8 - before.length - after.length }, () => '0'), ...after]
  return Buffer.from(all.map((group) => group.padStart(4, '0')).join(''), 'hex')
}

/** What a server said before it closed, as text. Ends by itself. */
export async function ask(
  door: Pick<OpenDoor, 'socketPath'>,
  text: string,
  options: { waitMs?: number } = {},
): Promise<string> {
  const socket = connect(door.socketPath)
  socket.on('error', () => undefined)
  socket.write(text)
  return collect(socket, options.waitMs ?? 5_000)
}

export function collect(socket: Socket | TLSSocket, waitMs = 5_000): Promise<string> {
  return new Promise((resolve) => {
    const parts: Buffer[] = []
    const finish = () => {
      clearTimeout(timer)
      socket.destroy()
      resolve(Buffer.concat(parts).toString('latin1'))
    }
    const timer = setTimeout(finish, waitMs)
    socket.on('data', (chunk: Buffer) => parts.push(chunk)).once('close', finish)
    socket.once('end', finish)
  })
}

/** Status and everything after, of one request in absolute form on a connection of its own. */
export async function get(
  door: Pick<OpenDoor, 'socketPath'>,
  url: string,
  headers: readonly string[] = [],
  method = 'GET',
): Promise<{ status: number; text: string }> {
  const { host } = new URL(url)
  const text = await ask(
    door,
    `${[`${method} ${url} HTTP/1.1`, `Host: ${host}`, 'Connection: close', ...headers].join('\r\n')}\r\n\r\n`,
  )
  return { status: Number(text.split(' ')[1]), text }
}

/** A socket after CONNECT, or the status it was refused with. */
export async function tunnel(
  door: Pick<OpenDoor, 'socketPath'>,
  authority: string,
  headers: readonly string[] = [`Host: ${authority}`],
): Promise<Socket | number> {
  const socket = connect(door.socketPath)
  socket.on('error', () => undefined)
  socket.write(`${[`CONNECT ${authority} HTTP/1.1`, ...headers].join('\r\n')}\r\n\r\n`)
  const text = await readHead(socket)
  const status = Number(text.split(' ')[1])
  if (status === 200) return socket
  socket.destroy()
  return status
}

/** TLS inside a tunnel. @throws as TLS does */
export async function secure(socket: Socket, servername: string, ca: string): Promise<TLSSocket> {
  const tls = connectTls({ socket, servername, ca })
  await once(tls, 'secureConnect')
  tls.on('error', () => undefined)
  return tls
}

export function httpsText(path: string, host: string, headers: readonly string[] = [], method = 'GET'): string {
  return `${[`${method} ${path} HTTP/1.1`, `Host: ${host}`, 'Connection: close', ...headers].join('\r\n')}\r\n\r\n`
}

/** The head of a response; what follows stays in the socket. */
function readHead(socket: Socket): Promise<string> {
  let bytes = Buffer.alloc(0)
  return new Promise((resolve) => {
    const finish = (text: string) => {
      socket.off('readable', onReadable).off('close', onClose)
      resolve(text)
    }
    const onClose = () => finish(bytes.toString('latin1'))
    const onReadable = () => {
      for (let chunk: unknown = socket.read(); chunk instanceof Buffer; chunk = socket.read())
        bytes = Buffer.concat([bytes, chunk])
      const end = bytes.indexOf('\r\n\r\n')
      if (end < 0) return
      if (end + 4 < bytes.length) socket.unshift(bytes.subarray(end + 4))
      finish(bytes.toString('latin1', 0, end))
    }
    socket.on('readable', onReadable).on('close', onClose)
  })
}
