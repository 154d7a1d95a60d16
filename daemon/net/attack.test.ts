/** A peer that holds the network's key and speaks raw frames. Needs the library, so it lives here. */
import { noise } from '@chainsafe/libp2p-noise'
import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import type {
  Connection,
  ConnectionEncrypter,
  MessageStream,
  Stream,
  StreamMuxer,
  StreamMuxerFactory,
} from '@libp2p/interface'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p, type Libp2p } from 'libp2p'
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { Writer } from 'protobufjs/minimal.js'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { LIMITS } from '../../protocol/limits.ts'
import { manyhands } from '../../proto/gen/wire.js'
import { createNet, type NetConfig } from './libp2p-net.ts'
import type { Gate, MeshNet } from './mesh-net.ts'
import { privateNetwork } from './private-network.ts'

const CONTROL = '/manyhands/control/1'
const networkKey = new Uint8Array(32).fill(3)
const everyone: Gate = { admits: () => true, serves: () => true }
const closing: (() => Promise<unknown>)[] = []
let seeds = 1

interface Attacker {
  readonly id: string
  readonly node: Libp2p
  /** What the muxer writes to: raw frames go here */
  raw(): MessageStream
}

interface AttackerOptions {
  readonly key?: Uint8Array | undefined
  readonly encrypter?: string
  readonly muxer?: string
}

async function victim(config: Partial<NetConfig> = {}): Promise<MeshNet> {
  const net = await createNet({
    meshId: 'attacked',
    seed: new Uint8Array(32).fill(seeds++),
    networkKey,
    gate: everyone,
    listen: ['/ip4/127.0.0.1/tcp/0'],
    allowLoopback: true,
    inboundPerSecond: 1000,
    ...config,
  })
  net.on((event) => event.type === 'peer-up' && net.setReady(event.peer))
  closing.push(() => net.close())
  return net
}

async function attacker(options: AttackerOptions = {}): Promise<Attacker> {
  const captured: MessageStream[] = []
  const renamed = <T extends ConnectionEncrypter>(inner: T): T =>
    Object.assign(inner, { protocol: options.encrypter ?? inner.protocol })
  const key = 'key' in options ? options.key : networkKey
  const node = await createLibp2p({
    privateKey: await generateKeyPairFromSeed('Ed25519', new Uint8Array(32).fill(seeds++)),
    transports: [tcp()],
    connectionEncrypters: [(components) => renamed(noise()(components))],
    streamMuxers: [() => new CapturingMuxer(yamux({ enableKeepAlive: false })(), captured, options.muxer)],
    connectionMonitor: { enabled: false },
    connectionGater: { denyDialMultiaddr: () => false },
    ...(key === undefined ? {} : { connectionProtector: privateNetwork(key) }),
  })
  closing.push(async () => node.stop())
  const raw = () => {
    const last = captured.at(-1)
    if (last === undefined) throw new Error('there is no connection')
    return last
  }
  return { id: node.peerId.toString(), node, raw }
}

class CapturingMuxer implements StreamMuxerFactory {
  readonly protocol: string
  readonly #inner: StreamMuxerFactory
  readonly #captured: MessageStream[]

  constructor(inner: StreamMuxerFactory, captured: MessageStream[], protocol: string | undefined) {
    this.#inner = inner
    this.#captured = captured
    this.protocol = protocol ?? inner.protocol
  }

  createStreamMuxer(connection: MessageStream): StreamMuxer {
    this.#captured.push(connection)
    return this.#inner.createStreamMuxer(connection)
  }
}

const dial = (from: Attacker, to: MeshNet): Promise<Connection> => from.node.dial(multiaddr(to.addresses()[0]))

/** A yamux frame: type, flags, stream, length, and body. */
function frame(type: number, flags: number, stream: number, length: number, body = new Uint8Array()): Uint8Array {
  const bytes = new Uint8Array(12 + body.length)
  const view = new DataView(bytes.buffer)
  view.setUint8(1, type)
  view.setUint16(2, flags)
  view.setUint32(4, stream)
  view.setUint32(8, length)
  bytes.set(body, 12)
  return bytes
}

const repeat = (count: number, make: (index: number) => Uint8Array): Uint8Array =>
  Buffer.concat(Array.from({ length: count }, (_, index) => make(index)))
const closed = (connection: Connection) => vi.waitFor(() => expect(connection.status).not.toBe('open'), 5000)

/** Someone else is served while the attack goes on. */
async function expectServing(net: MeshNet): Promise<void> {
  const friend = await victim()
  net.handle('well', () => new Uint8Array([1]))
  await friend.connect(net.self, net.addresses())
  expect(await friend.request(net.self, 'well', new Uint8Array())).toEqual(new Uint8Array([1]))
}

afterEach(async () => {
  await Promise.all(closing.splice(0).map((close) => close()))
})

describe('who may speak', () => {
  test('P2P-01 an unknown key reaches no handler on any protocol', async () => {
    const calls: string[] = []
    const net = await victim({ gate: { admits: () => false, serves: () => false } })
    net.handle('any', () => (calls.push('request'), new Uint8Array()), { beforeReady: true })
    for (const protocol of ['/manyhands/join/1', '/manyhands/git/1'])
      net.handleStream(protocol, () => calls.push(protocol))
    net.on((event) => calls.push(event.type))
    const stranger = await attacker()
    for (const protocol of [CONTROL, '/manyhands/join/1', '/manyhands/git/1', '/ipfs/id/1.0.0', '/ipfs/ping/1.0.0']) {
      await expect(dial(stranger, net).then((connection) => connection.newStream(protocol))).rejects.toThrow()
    }
    expect(calls).toEqual([])
    expect(net.connections()).toEqual([])
  })

  test('P2P-02 another key, or none, ends before the handshake', async () => {
    const net = await victim()
    for (const key of [new Uint8Array(32).fill(4), undefined]) {
      const outsider = await attacker({ key })
      await expect(
        outsider.node.dial(multiaddr(net.addresses()[0]), { signal: AbortSignal.timeout(500) }),
      ).rejects.toThrow()
    }
    expect(net.connections()).toEqual([])
    await expectServing(net)
  })

  test('P2P-11 a peer is who its connection proves, whatever its messages or addresses say', async () => {
    const net = await victim()
    const seen: string[] = []
    net.handle('who', (_body, { peer }) => (seen.push(peer), new Uint8Array()))
    const other = await victim()
    await other.connect(net.self, net.addresses())
    await other.request(net.self, 'who', new TextEncoder().encode(net.self))
    expect(seen).toEqual([other.self])
    // the address is the victim's, the id somebody else's
    const third = await victim()
    const address = net.addresses()[0]?.replace(/\/p2p\/.*/, '') ?? ''
    await expect(third.connect(other.self, [address])).rejects.toMatchObject({ code: 'E_UNREACHABLE' })
    expect(third.connections()).toEqual([])
  })

  test('P2P-18 plaintext, another muxer and older protocol ids are refused', async () => {
    const net = await victim()
    for (const options of [{ encrypter: '/plaintext/2.0.0' }, { muxer: '/mplex/6.7.0' }]) {
      const old = await attacker(options)
      await expect(dial(old, net).then((connection) => connection.newStream(CONTROL))).rejects.toThrow()
    }
    const connection = await dial(await attacker(), net)
    for (const protocol of [
      '/manyhands/control/0',
      '/manyhands/control',
      '/libp2p/circuit/relay/0.2.0/hop',
      '/libp2p/autonat/1.0.0',
    ]) {
      await expect(connection.newStream(protocol)).rejects.toMatchObject({ name: 'UnsupportedProtocolError' })
    }
  })
})

test.each([
  ['member', true],
  ['joiner', false],
])('P2P-03 one %s holds few connections, however many it opens', async (_name, serves) => {
  const net = await victim({ gate: { admits: () => true, serves: () => serves } })
  const evil = await attacker()
  for (let count = 0; count < 12; count++) {
    await evil.node.dial(multiaddr(net.addresses()[0]), { force: true }).catch(() => undefined)
  }
  await vi.waitFor(() => expect(net.connections().length).toBeLessThanOrEqual(4))
  expect(net.connections().length).toBeGreaterThan(0)
})

describe('floods of frames', () => {
  let net: MeshNet
  let evil: Attacker
  let connection: Connection

  beforeEach(async () => {
    net = await victim()
    evil = await attacker()
    connection = await dial(evil, net)
    await vi.waitFor(() => expect(net.isConnected(evil.id)).toBe(true))
  })

  const attacks: readonly [string, () => Uint8Array][] = [
    ['P2P-05 50,000 pings', () => repeat(50_000, (index) => frame(2, 1, 0, index))],
    ['P2P-08 a window that overflows', () => repeat(2, () => frame(1, 0, 1, 0xffff0000))],
    ['P2P-08 a first frame larger than the window', () => frame(0, 1, 3, (2 << 20) + 1, new Uint8Array(262_145))],
    ['P2P-08 a frame of 4 GB that never ends', () => frame(0, 0, 1, 0xffffffff, new Uint8Array(1000))],
    ['P2P-08 an unknown type', () => frame(9, 0, 0, 0)],
    ['P2P-08 another version', () => frame(0, 0, 1, 0).fill(7, 0, 1)],
    ['P2P-08 streams numbered like ours', () => frame(1, 1, 4, 0)],
    ['P2P-08 5,000 new streams', () => repeat(5000, (index) => frame(1, 1, 1001 + 2 * index, 0))],
    [
      'P2P-08 10,000 ends of streams that do not exist',
      () => repeat(10_000, (index) => frame(1, 4, 1001 + 2 * index, 0)),
    ],
    [
      'P2P-08 24 MiB behind 4,000 such ends',
      () =>
        Buffer.concat([
          repeat(4000, (index) => frame(1, 4, 1001 + 2 * index, 0)),
          repeat(24, () => frame(0, 0, 1001, 1 << 20, new Uint8Array(1 << 20))),
        ]),
    ],
  ]
  test.each(attacks)('%s: the connection ends, others are served', async (_name, bytes) => {
    const before = process.memoryUsage().rss
    evil.raw().send(bytes())
    await closed(connection)
    await vi.waitFor(() => expect(net.isConnected(evil.id)).toBe(false))
    expect(process.memoryUsage().rss - before).toBeLessThan(100 << 20)
    await expectServing(net)
  })

  test('P2P-04 streams beyond the bound are reset', async () => {
    let served = 0
    net.handleStream('/manyhands/many/1', () => served++)
    const opened = await Promise.allSettled(
      Array.from({ length: 100 }, () => connection.newStream('/manyhands/many/1', { maxOutboundStreams: 1000 })),
    )
    const usable = opened.filter((result) => result.status === 'fulfilled' && result.value.status === 'open')
    expect(served).toBeLessThanOrEqual(24)
    expect(served).toBeGreaterThan(0)
    expect(usable.length).toBeLessThanOrEqual(64)
    await expectServing(net)
  })
})

describe('abuse of the control stream', () => {
  async function control(
    config: Partial<NetConfig> = {},
  ): Promise<{ net: MeshNet; stream: Stream; connection: Connection }> {
    const net = await victim(config)
    const evil = await attacker()
    const connection = await dial(evil, net)
    const stream = await connection.newStream(CONTROL)
    await vi.waitFor(() => expect(net.isConnected(evil.id)).toBe(true))
    return { net, stream, connection }
  }
  const encode = (frames: readonly manyhands.Frame.$Properties[]): Uint8Array => {
    const writer = Writer.create()
    for (const each of frames) manyhands.Frame.encodeDelimited(each, writer)
    return writer.finish()
  }

  test('P2P-05 who asks for large answers and does not read them loses the connection', async () => {
    const { net, stream, connection } = await control()
    net.handle('large', () => new Uint8Array(512 << 10))
    stream.pause()
    const before = process.memoryUsage().rss
    stream.send(encode(Array.from({ length: 200 }, (_, index) => ({ id: index + 1, request: { method: 'large' } }))))
    await closed(connection)
    expect(process.memoryUsage().rss - before).toBeLessThan(150 << 20)
    await expectServing(net)
  })

  test.each([
    ['a length of 4 GB', Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0x0f, 1, 2, 3)],
    ['a length that does not end', new Uint8Array(100).fill(0x80)],
    ['a length just beyond the limit', Uint8Array.of(0x81, 0x80, 0x40)],
    ['bytes that are no frame', Uint8Array.of(3, 0x0f, 0x0f, 0x0f)],
    [
      'a number used twice',
      encode([
        { id: 1, open: { kind: 'x' } },
        { id: 1, open: { kind: 'x' } },
      ]),
    ],
    ['a frame for a channel that was never opened', encode([{ id: 5, data: new Uint8Array(1) }])],
    ['an answer to nothing', encode([{ id: 1, reply: new Uint8Array(1) }])],
    [
      'data beyond the window',
      encode([
        { id: 1, open: { kind: 'stuck' } },
        ...Array.from({ length: 3 }, () => ({ id: 1, data: new Uint8Array(1_000_000) })),
      ]),
    ],
    [
      'credit that was not due',
      encode([
        { id: 1, open: { kind: 'stuck' } },
        { id: 1, credit: 5 },
      ]),
    ],
  ])('P2P-06 %s ends the connection', async (_name, bytes) => {
    const { net, stream, connection } = await control()
    net.handleChannel('stuck', () => undefined)
    stream.send(bytes)
    await closed(connection)
    await expectServing(net)
  })

  test('P2P-06 a message that is sent byte by byte and never finished ends the connection', async () => {
    const { stream, connection } = await control({ heartbeatMs: 30 })
    stream.send(Uint8Array.of(0xe8, 0x07))
    const dripping = (async () => {
      while (connection.status === 'open') {
        if (stream.writeStatus === 'writable') stream.send(new Uint8Array(1))
        await sleep(20)
      }
    })()
    await closed(connection)
    await dripping
  })

  const bomb = (fill: readonly number[]): Uint8Array => {
    const length = LIMITS.frameBytes - (LIMITS.frameBytes % fill.length)
    const body = new Uint8Array(length).map((_, index) => fill[index % fill.length] ?? 0)
    return Buffer.concat([Writer.create().uint32(length).finish(), body])
  }
  test.each([
    ['a frame of half a million empty fields', bomb([0x7a, 0x00])],
    ['a frame of half a million requests merged into one', bomb([0x12, 0x00])],
    [
      'a request of half a million empty fields',
      Buffer.concat([
        Uint8Array.of(0x84, 0x80, 0x40, 0x12, 0x80, 0x80, 0x40),
        new Uint8Array(1 << 20).map((_, index) => (index % 2 ? 0 : 0x7a)),
      ]),
    ],
    [
      'a frame of half a million requests behind a group',
      Buffer.concat([
        Writer.create()
          .uint32(6 + 1_000_000)
          .finish(),
        Uint8Array.of(0x08, 0x01, 0x8b, 0x01, 0x8c, 0x01),
        new Uint8Array(1_000_000).map((_, index) => (index % 2 ? 0 : 0x12)),
      ]),
    ],
    ['a frame whose lengths lead out of it', Uint8Array.of(6, 0x12, 0xff, 0xff, 0xff, 0x7f, 1)],
  ])('P2P-07 %s is refused in time', async (_name, bytes) => {
    const { net, stream, connection } = await control()
    let lag = 0
    let last = performance.now()
    const timer = setInterval(() => {
      lag = Math.max(lag, performance.now() - last)
      last = performance.now()
    }, 5)
    stream.send(bytes)
    await closed(connection)
    clearInterval(timer)
    expect(lag).toBeLessThan(1000)
    await expectServing(net)
  })

  test('P2P-07 a method name that is no text is refused', async () => {
    const { net, stream, connection } = await control()
    const answers: number[] = []
    stream.addEventListener('message', ({ data }) => answers.push(data.byteLength))
    const bytes = encode([{ id: 900, request: { method: 'x' } }])
    bytes[bytes.length - 1] = 0xff
    stream.send(bytes)
    await vi.waitFor(() => expect(answers.length > 0 || connection.status !== 'open').toBe(true), 5000)
    await expectServing(net)
  })

  test('P2P-07 the decoders of the installed libraries are past the known bombs', () => {
    const version = (name: string): string => {
      const text = readFileSync(new URL(`../../node_modules/${name}/package.json`, import.meta.url), 'utf8')
      return (JSON.parse(text) as { readonly version: string }).version
    }
    const number = (text: string) => text.split('.').reduce((sum, part) => sum * 1000 + Number.parseInt(part, 10), 0)
    for (const [name, floor] of [
      ['@libp2p/crypto', '5.1.22'],
      ['protobufjs', '8.6.0'],
    ] as const) {
      expect(number(version(name)), name).toBeGreaterThanOrEqual(number(floor))
    }
  })
})
