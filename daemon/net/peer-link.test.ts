import { expect, test } from 'vitest'
import { MeshError } from '../../protocol/errors.ts'
import { manyhands } from '../../proto/gen/wire.js'
import { FrameDecoder } from './frame-decoder.ts'
import { PeerLink } from './peer-link.ts'
import { realScheduler } from './scheduler.ts'
import type { Wire, WireEvents } from './wire.ts'

/** A wire that ends here: what comes goes in by `feed`, and requests are answered at once. */
function wire(): { wire: Wire; feed: (bytes: Uint8Array) => void } {
  let events: WireEvents | undefined
  const feed = (bytes: Uint8Array): void => events?.data(bytes)
  const decoder = new FrameDecoder(({ id, request }) => {
    if (request) queueMicrotask(() => feed(manyhands.Frame.encodeDelimited({ id, reply: new Uint8Array() }).finish()))
  })
  const attach = (to: WireEvents): void => {
    events = to
  }
  const send = (bytes: Uint8Array): boolean => (decoder.push(bytes), true)
  return { feed, wire: { writable: true, send, attach, abort: () => undefined } }
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
