import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import type { GuestBytes, GuestListener } from './egress.ts'
import { leadInto } from './lead.ts'

/** A door that counts what it reads and answers nothing. */
async function countingDoor() {
  const folder = await mkdtemp(join(tmpdir(), 'mh-lead-'))
  const read = { bytes: 0 }
  const server = createServer((socket) => {
    socket.on('data', (bytes) => (read.bytes += bytes.length)).on('error', () => undefined)
  })
  const socketPath = join(folder, 's')
  await new Promise<void>((resolve) => server.listen(socketPath, resolve))
  onTestFinished(async () => {
    await new Promise((resolve) => server.close(resolve))
    await rm(folder, { recursive: true })
  })
  return { socketPath, read }
}

it('keeps nothing of each pause of a long connection', async () => {
  const { socketPath, read } = await countingDoor()
  const total = 64 << 20
  const piece = new Uint8Array(1 << 20)
  async function* upload(): AsyncGenerator<Uint8Array> {
    for (let sent = 0; sent < total; sent += piece.length) yield piece
  }
  let open: (connection: GuestBytes) => void = () => undefined
  const guest: GuestListener = {
    listen: async (_port, onConnection) => {
      open = onConnection
      return { close: () => undefined }
    },
  }
  await leadInto({ kind: 'guest', guest }, { socketPath, take: async () => undefined })
  const warnings: string[] = []
  const onWarning = ({ name }: Error) => void warnings.push(name)
  process.on('warning', onWarning)
  onTestFinished(() => void process.off('warning', onWarning))
  open({ readable: upload(), write: async () => undefined, end: () => undefined, close: () => undefined })
  await expect.poll(() => read.bytes, { timeout: 10_000 }).toBe(total)
  // Node says so of more than ten listeners of one event
  expect(warnings).toEqual([])
})
