/** Over links as long as those of radio and satellites; what has room in a handshake on a LAN may have none there. */
import { afterEach, expect, test, vi } from 'vitest'
import { ChaosProxy } from '../../test/support/chaos-proxy.ts'
import { Libp2pNets } from '../../test/support/mesh-nets.ts'

const nets = new Libp2pNets()
let proxy: ChaosProxy | undefined

afterEach(async () => {
  await nets.closeAll()
  await proxy?.close()
  proxy = undefined
})

test('F11: a peer whose round trip takes a second and a half is connected with', async () => {
  const [near, far] = [await nets.make(), await nets.make()]
  proxy = await ChaosProxy.before(far.addresses()[0] ?? '')
  proxy.set({ delayMs: 750 })
  await near.connect(far.self, [proxy.address])
  expect(near.isConnected(far.self) && far.isConnected(near.self)).toBe(true)
}, 30_000)

test('F11: on a narrow link a request does not wait for all that a channel has to say', async () => {
  const [near, far] = [await nets.make(), await nets.make()]
  proxy = await ChaosProxy.before(far.addresses()[0] ?? '')
  await near.connect(far.self, [proxy.address])
  far.handle('echo', (body) => body)
  let taken = 0
  far.handleChannel('bulk', (channel) => channel.onMessage((message) => void (taken += message.byteLength)))
  proxy.set({ bytesPerSecond: 50_000 })
  const channel = near.openChannel(far.self, 'bulk', new Uint8Array())
  const message = new Uint8Array(16 << 10)
  for (let sent = 0; sent < 400_000; sent += message.byteLength) channel.send(message)
  const took: number[] = []
  while (took.length < 3) {
    const start = performance.now()
    await near.request(far.self, 'echo', new Uint8Array(1))
    took.push(performance.now() - start)
  }
  expect(Math.max(...took)).toBeLessThan(3_000)
  expect(taken).toBeLessThan(400_000)
}, 30_000)

test('F11: on a narrow link what is sent ahead on a channel does not wait for what it said before, large or small', async () => {
  for (const bytes of [16 << 10, 1 << 10]) {
    const [near, far] = [await nets.make(), await nets.make()]
    proxy = await ChaosProxy.before(far.addresses()[0] ?? '')
    await near.connect(far.self, [proxy.address])
    proxy.set({ bytesPerSecond: 50_000 })
    const sizes: number[] = []
    far.handleChannel('bulk', (channel) => channel.onMessage((message) => void sizes.push(message.byteLength)))
    const channel = near.openChannel(far.self, 'bulk', new Uint8Array())
    for (let sent = 0; sent < 400_000; sent += bytes) {
      channel.send(new Uint8Array(bytes))
      // as a guest writes its log
      if (sent % (64 << 10) === 0) await new Promise(setImmediate)
    }
    const start = performance.now()
    channel.sendAhead(new Uint8Array(1))
    await vi.waitFor(() => expect(sizes).toContain(1), { timeout: 20_000, interval: 20 })
    expect(performance.now() - start).toBeLessThan(3_000)
    expect(sizes.length * bytes).toBeLessThan(400_000)
    await proxy.close()
  }
}, 30_000)
