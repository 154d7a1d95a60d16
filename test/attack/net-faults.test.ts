import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { MeshNet } from '../../daemon/net/mesh-net.ts'
import { MeshError } from '../../protocol/errors.ts'
import { ChaosProxy } from '../support/chaos-proxy.ts'
import { Libp2pNets } from '../support/mesh-nets.ts'

const HEARTBEAT_MS = 100
const nets = new Libp2pNets()
let a: MeshNet
let b: MeshNet
let proxy: ChaosProxy

beforeEach(async () => {
  a = await nets.make({ heartbeatMs: HEARTBEAT_MS })
  b = await nets.make({ heartbeatMs: HEARTBEAT_MS })
  b.handle('echo', (body) => body)
  proxy = await ChaosProxy.before(b.addresses()[0] ?? '', 7)
})
afterEach(async () => {
  await nets.closeAll()
  await proxy.close()
})

const through = (): string[] => [proxy.address]
const code = (error: unknown): string => (error instanceof MeshError ? error.code : String(error))
const bothDown = () =>
  vi.waitFor(() => {
    expect(a.isConnected(b.self)).toBe(false)
    expect(b.isConnected(a.self)).toBe(false)
  }, 10_000)

test('F13 a connection that went silent is given up by both sides, and what waited on it ends', async () => {
  await a.connect(b.self, through())
  b.handle('hang', () => new Promise(() => undefined))
  const waiting = a.request(b.self, 'hang', new Uint8Array()).catch(code)
  await sleep(20)
  proxy.silence()
  await bothDown()
  expect(await waiting).toBe('E_UNREACHABLE')
})

test('F08 silence in one direction is noticed by both sides', async () => {
  await a.connect(b.self, through())
  proxy.silence('forth')
  await bothDown()
})

test('F09 after a reset the connection comes back by itself and serves', async () => {
  a.keep([{ peer: b.self, addresses: through() }])
  await vi.waitFor(() => expect(a.isConnected(b.self)).toBe(true))
  for (let round = 0; round < 2; round++) {
    proxy.cut()
    await vi.waitFor(() => expect(a.isConnected(b.self)).toBe(false))
    await vi.waitFor(() => expect(a.isConnected(b.self)).toBe(true), 10_000)
    expect(await a.request(b.self, 'echo', Uint8Array.of(round))).toEqual(Uint8Array.of(round))
  }
})

test('F09 what a connection that was lost had brought of a stream is no whole of it', async () => {
  await a.connect(b.self, through())
  b.handleStream('/cut/1', (stream) => void stream.write(new Uint8Array(1_000)).catch(() => undefined))
  for (const how of ['ended by the reader before', 'open']) {
    await a.connect(b.self, through())
    const stream = await a.openStream(b.self, '/cut/1')
    if (how !== 'open') await stream.end()
    let bytes = 0
    const reading = (async () => {
      for await (const chunk of stream.chunks()) bytes += chunk.byteLength
    })()
    await vi.waitFor(() => expect(bytes).toBe(1_000))
    proxy.cut()
    await expect(reading, how).rejects.toMatchObject({ code: 'E_UNREACHABLE' })
    await vi.waitFor(() => expect(a.isConnected(b.self)).toBe(false))
  }
})

/** Nodes that do not take a busy machine for a dead peer. */
async function patient(): Promise<void> {
  a = await nets.make()
  b = await nets.make()
  b.handle('echo', (body) => body)
  await proxy.close()
  proxy = await ChaosProxy.before(b.addresses()[0] ?? '', 7)
}

test('F10 with delay, jitter and loss everything arrives, later, and nobody is given up', async () => {
  await patient()
  const downs: string[] = []
  a.on((event) => event.type === 'peer-down' && downs.push(event.reason))
  proxy.set({ delayMs: 20, jitterMs: 10 })
  await a.connect(b.self, through())
  proxy.set({ delayMs: 30, jitterMs: 20, loss: 0.1, lossDelayMs: 100 })
  const bodies = Array.from({ length: 20 }, (_, index) => new Uint8Array(5000).fill(index))
  for (let round = 0; round < 3; round++) {
    expect(await Promise.all(bodies.map((body) => a.request(b.self, 'echo', body)))).toEqual(bodies)
  }
  expect(downs).toEqual([])
  expect(a.rttMs(b.self)).toBeGreaterThan(30)
})

test('F12 corrupted and repeated bytes never become a wrong answer; the connection comes back', async () => {
  a.keep([{ peer: b.self, addresses: through() }])
  let wrong = 0
  for (const chaos of [{ corrupt: 0.3 }, { duplicate: 0.3 }]) {
    await vi.waitFor(() => expect(a.isConnected(b.self)).toBe(true), 10_000)
    proxy.set(chaos)
    let down = false
    const off = a.on((event) => {
      down ||= event.type === 'peer-down'
    })
    for (let index = 0; index < 200 && !down; index++) {
      const body = new Uint8Array(500).fill(index)
      const answer = await a.request(b.self, 'echo', body, { timeoutMs: 2000 }).catch(() => undefined)
      if (answer !== undefined && !Buffer.from(answer).equals(body)) wrong++
    }
    off()
    expect(down).toBe(true)
    proxy.set({})
  }
  expect(wrong).toBe(0)
  await vi.waitFor(() => expect(a.isConnected(b.self)).toBe(true), 10_000)
  expect(await a.request(b.self, 'echo', Uint8Array.of(9))).toEqual(Uint8Array.of(9))
})

test('F10 a large message does not hold up small ones for longer than its own chunk', async () => {
  await patient()
  proxy.set({ bytesPerSecond: 8 << 20 })
  await a.connect(b.self, through())
  b.handleChannel('bulk', (channel) => channel.onMessage(() => undefined))
  const channel = a.openChannel(b.self, 'bulk', new Uint8Array())
  for (let index = 0; index < 4; index++) channel.send(new Uint8Array(900_000))
  let all = false
  void channel.drained().then(() => {
    all = true
  })
  await sleep(5)
  await a.request(b.self, 'echo', Uint8Array.of(1))
  expect(all).toBe(false)
  await channel.drained()
})
