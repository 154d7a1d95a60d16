import { expect, test, vi } from 'vitest'
import { MeshError } from '../../protocol/errors.ts'
import { manyhands } from '../../proto/gen/wire.js'
import { FrameDecoder } from './frame-decoder.ts'
import { PeerLink } from './peer-link.ts'
import { realScheduler } from './scheduler.ts'
import type { Wire, WireEvents } from './wire.ts'

/** A wire that ends here: what comes goes in by `feed`, and requests are answered at once. */
function wire(firstDelayMs = 0): { wire: Wire; feed: (bytes: Uint8Array) => void; delay: (ms: number) => void } {
  let events: WireEvents | undefined
  let delayMs = firstDelayMs
  const feed = (bytes: Uint8Array): void => events?.data(bytes)
  const decoder = new FrameDecoder(({ id, request }) => {
    if (!request) return
    const reply = (): void => feed(manyhands.Frame.encodeDelimited({ id, reply: new Uint8Array() }).finish())
    if (delayMs === 0) queueMicrotask(reply)
    else setTimeout(reply, delayMs)
  })
  const attach = (to: WireEvents): void => {
    events = to
  }
  const send = (bytes: Uint8Array): boolean => (decoder.push(bytes), true)
  const delay = (ms: number): void => void (delayMs = ms)
  return {
    feed,
    delay,
    wire: { writable: true, bulkRoom: () => Number.POSITIVE_INFINITY, send, attach, abort: () => undefined },
  }
}

const request = (id: number): Uint8Array =>
  manyhands.Frame.encodeDelimited({ id, request: { method: 'any', body: new Uint8Array(100) } }).finish()

test('P2P-06 a message that is never finished ends the connection, a steady flow of large ones does not', async () => {
  const reasons: string[] = []
  const link = new PeerLink({
    peer: 'peer',
    transport: {
      openWire: () => Promise.resolve(wire().wire),
      hangUp: (_peer, reason) => Promise.resolve(void reasons.push(reason)),
    },
    scheduler: realScheduler,
    services: {
      request: () => () => new Uint8Array(),
      channel: () => () => undefined,
    },
  })
  link.start()
  const beat = async (): Promise<void> => {
    link.beat()
    await new Promise((resolve) => setImmediate(resolve))
  }
  await link.opened(AbortSignal.timeout(5000))
  const from = wire()
  link.accept(from.wire)
  from.feed(request(1).subarray(0, 50))
  for (let id = 1; id <= 30; id++) {
    await beat()
    from.feed(Buffer.concat([request(id).subarray(50), request(id + 1).subarray(0, 50)]))
  }
  expect(reasons).toEqual([])
  for (let count = 0; count < 14; count++) await beat()
  expect(reasons).toContain('The peer does not finish a message')
  link.end(new MeshError('E_UNREACHABLE', 'The test is over'))
})

test('F11: a far peer that is doubted has the time to show that it lives, one that is silent has not', async () => {
  vi.useFakeTimers()
  try {
    const reasons: string[] = []
    const far = wire(1_500)
    const link = new PeerLink({
      peer: 'peer',
      transport: {
        openWire: () => Promise.resolve(far.wire),
        hangUp: (_peer, reason) => Promise.resolve(void reasons.push(reason)),
      },
      scheduler: realScheduler,
      services: { request: () => () => new Uint8Array(), channel: () => () => undefined },
    })
    link.start()
    await vi.advanceTimersByTimeAsync(5_000)
    expect(link.rttMs).toBe(1_500)
    far.delay(4_000)
    link.probe()
    await vi.advanceTimersByTimeAsync(10_000)
    expect(reasons).toEqual([])
    far.delay(60_000)
    link.probe()
    await vi.advanceTimersByTimeAsync(10_000)
    expect(reasons).toEqual(['no sign of life'])
    link.end(new MeshError('E_UNREACHABLE', 'The test is over'))
  } finally {
    vi.useRealTimers()
  }
})
