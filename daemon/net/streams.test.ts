/** The traps of libp2p streams, each shown not to catch. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createNet } from './libp2p-net.ts'
import type { ByteStream, MeshNet } from './mesh-net.ts'

const PROTOCOL = '/manyhands/test/1'
let nets: MeshNet[] = []
let a: MeshNet
let b: MeshNet

async function node(fill: number): Promise<MeshNet> {
  const net = await createNet({
    meshId: 'streams',
    seed: new Uint8Array(32).fill(fill),
    networkKey: new Uint8Array(32).fill(1),
    gate: { admits: () => true, serves: () => true },
    listen: ['/ip4/127.0.0.1/tcp/0'],
    allowLoopback: true,
  })
  net.on((event) => event.type === 'peer-up' && net.setReady(event.peer))
  nets.push(net)
  return net
}

function serve(net: MeshNet, work: (stream: ByteStream) => Promise<void>): void {
  net.handleStream(PROTOCOL, (stream) => void work(stream))
}

beforeEach(async () => {
  a = await node(1)
  b = await node(2)
  await a.connect(b.self, b.addresses())
})
afterEach(async () => {
  await Promise.all(nets.map((net) => net.close()))
  nets = []
})

const size = async (stream: ByteStream): Promise<number> => {
  let bytes = 0
  for await (const chunk of stream.chunks()) bytes += chunk.length
  return bytes
}

test('an end that came before anybody read is seen, with what came before it', async () => {
  serve(b, async (stream) => {
    await stream.write(new Uint8Array(100_000))
    await stream.end()
  })
  const lengths = await Promise.all(
    Array.from({ length: 10 }, async () => {
      const stream = await a.openStream(b.self, PROTOCOL)
      await stream.end()
      await sleep(20)
      return size(stream)
    }),
  )
  expect(lengths).toEqual(new Array(10).fill(100_000))
})

test('bytes that come together with the end of the stream are not lost, however small', async () => {
  b.handleStream(PROTOCOL, (stream) => void stream.write(new Uint8Array(10)).then(() => stream.end()))
  const lengths = await Promise.all(Array.from({ length: 20 }, async () => size(await a.openStream(b.self, PROTOCOL))))
  expect(lengths).toEqual(new Array(20).fill(10))
})

test('a stream reset before anybody read is an error, not an early end', async () => {
  serve(b, async (stream) => {
    await stream.write(new Uint8Array(1000))
    // not so early that the stream could not be opened
    await sleep(30)
    stream.abort(new Error('changed my mind'))
  })
  const stream = await a.openStream(b.self, PROTOCOL)
  await sleep(80)
  await expect(size(stream)).rejects.toMatchObject({ code: 'E_UNREACHABLE' })
})

test('a writer waits for a reader that reads nothing, again and again, and nothing is lost', async () => {
  const total = 24 << 20
  const goOn = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const reading = Promise.withResolvers<number>()
  serve(b, async (stream) => {
    let bytes = 0
    for await (const chunk of stream.chunks()) {
      // stops twice on the way
      await goOn[Math.min(1, Math.floor(bytes / (8 << 20)))]?.promise
      bytes += chunk.length
    }
    reading.resolve(bytes)
  })
  const stream = await a.openStream(b.self, PROTOCOL)
  let written = 0
  const writing = (async () => {
    for (; written < total; written += 64 << 10) await stream.write(new Uint8Array(64 << 10))
    await stream.end()
  })()
  const settled = async () => {
    for (let before = -1; before !== written; ) {
      before = written
      await sleep(100)
    }
    return written
  }
  expect(await settled()).toBeLessThan(7 << 20)
  goOn[0]?.resolve()
  const second = await settled()
  expect(second).toBeGreaterThan(8 << 20)
  expect(second).toBeLessThan(15 << 20)
  goOn[1]?.resolve()
  await writing
  expect(await reading.promise).toBe(total)
})

test('waiting for room ends with the signal, and with the stream', async () => {
  b.handleStream(PROTOCOL, () => undefined)
  const stream = await a.openStream(b.self, PROTOCOL)
  const fill = async (signal?: AbortSignal) => {
    for (;;) await stream.write(new Uint8Array(1 << 20), signal)
  }
  await expect(fill(AbortSignal.timeout(100))).rejects.toMatchObject({ name: 'TimeoutError' })
  const stuck = fill()
  stream.abort(new Error('enough'))
  await expect(stuck).rejects.toMatchObject({ code: 'E_UNREACHABLE' })
})

test('writes that are longer than may be on the way go one after the other', async () => {
  const lengths = [300_000, 1, 0, 200_000]
  const got: Buffer[] = []
  const served = Promise.withResolvers<void>()
  serve(b, async (stream) => {
    for await (const chunk of stream.chunks()) got.push(Buffer.from(chunk))
    served.resolve()
  })
  const stream = await a.openStream(b.self, PROTOCOL)
  await Promise.all(lengths.map((length, index) => stream.write(new Uint8Array(length).fill(index + 1))))
  await stream.end()
  await served.promise
  const wanted = Buffer.concat(lengths.map((length, index) => Buffer.alloc(length, index + 1)))
  expect(Buffer.concat(got).equals(wanted)).toBe(true)
})
