import net from 'node:net'
import { tmpdir } from 'node:os'
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, expect, it } from 'vitest'
import { FrameReader } from '../../../protocol/duplex-frame.ts'
import { type ChannelListener, FRAME } from '../duplex.ts'
import { DuplexConnection } from './duplex-connection.ts'
import type { NodeTransport } from './http-transport.ts'

const closers: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

/** A connection and the other end of it, which reads nothing until it is told to. */
async function pair(): Promise<{ duplex: DuplexConnection; daemon: net.Socket }> {
  const folder = await mkdtemp(join(tmpdir(), 'mh-duplex-'))
  closers.push(() => rm(folder, { recursive: true }))
  const server = net.createServer({ pauseOnConnect: true })
  await new Promise<void>((resolve) => server.listen(join(folder, 's'), resolve))
  closers.push(() => new Promise((resolve) => server.close(resolve)))
  const accepted = new Promise<net.Socket>((resolve) => server.once('connection', resolve))
  const socket = net.connect(join(folder, 's'))
  const daemon = await accepted
  const transport: NodeTransport = {
    request: () => Promise.reject(new Error('Only upgrades here')),
    upgrade: async () => ({ socket, head: Buffer.alloc(0) }),
    async close() {},
  }
  const duplex = await DuplexConnection.connect(transport, new AbortController().signal)
  closers.push(async () => {
    duplex.close()
    daemon.destroy()
  })
  return { duplex, daemon }
}

const listener: ChannelListener = { onFrame: () => undefined, onLost: () => undefined }

it('sends the end of a channel and what its guest waits for also when the daemon takes nothing more', async () => {
  const { duplex, daemon } = await pair()
  const channel = duplex.open(FRAME.session, { program: { source: '' } }, listener)
  let id = 0
  // Down to the last byte
  for (const size of [8 << 20, 64 << 10, 1]) {
    expect(() => {
      for (const input = '1'.repeat(size); ; ) channel.sendWithId(FRAME.call, ++id, input)
    }).toThrow(expect.objectContaining({ code: 'E_OVERLOADED' }))
  }
  channel.sendWithId(FRAME.hostFailed, 7, '{"code":"E_HOST_CALL","message":"no"}')
  channel.sendCredit(1)
  channel.send(FRAME.finish, '')
  channel.send(FRAME.cancel, '')

  const seen: number[] = []
  const reader = new FrameReader((_channel, type) => seen.push(type))
  daemon.on('data', (bytes: Buffer) => reader.push(bytes)).resume()
  await expect
    .poll(() => seen.slice(-4), { timeout: 10_000 })
    .toEqual([FRAME.hostFailed, FRAME.credit, FRAME.finish, FRAME.cancel])
})
