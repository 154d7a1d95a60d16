/** Operations on sandboxes whose client does not read, on a connection in memory. */
import { Duplex } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { BOX, type BoxDone, type BoxOpen } from '../../../protocol/api-sandboxes.ts'
import type { OpLink } from '../../sandboxes/op-link.ts'
import type { ApiServices } from '../services.ts'
import { openBox } from './box-channel.ts'
import { ChannelOutput } from './channel.ts'
import { DUPLEX_LIMITS } from './limits.ts'
import { DuplexWire } from './wire.ts'

it('no number of operations cuts off a client that is slow to read: they wait', async () => {
  const held: (() => void)[] = []
  let reads = false
  const socket = new Duplex({
    read: () => undefined,
    write: (_bytes, _encoding, done) => void (reads ? done() : held.push(done)),
  })
  let ended: Error | undefined
  const wire = new DuplexWire(socket, Buffer.alloc(0), 60_000, {
    onFrame: () => undefined,
    onData: () => undefined,
    onEnd: (error) => (ended = error),
  })
  const piece = new Uint8Array(BOX.pieceBytes)
  let over = 0
  const stream = async (_open: BoxOpen, link: OpLink): Promise<BoxDone> => {
    for (let sent = 0; sent + piece.length <= BOX.windowBytes; sent += piece.length) await link.send(1, piece)
    over++
    return {}
  }
  const services = { sandboxes: async () => ({ stream }) } as unknown as Pick<ApiServices, 'sandboxes'>
  const all = Math.ceil(DUPLEX_LIMITS.queueBytes / BOX.windowBytes) + 16
  for (let id = 1; id <= all; id++)
    openBox({ op: 'read', sandbox: 'box', path: 'f' }, services, new ChannelOutput(wire, id, () => undefined))
  // As long as anything more is sent
  for (let before = -1; wire.queued !== before; ) {
    before = wire.queued
    for (let n = 0; n < 10; n++) await turn()
  }
  expect(ended).toBeUndefined()
  expect(over).toBeLessThan(all)
  reads = true
  for (const done of held.splice(0)) done()
  await expect.poll(() => over).toBe(all)
  expect(ended).toBeUndefined()
  socket.destroy()
})
