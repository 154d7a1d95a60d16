import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, it, vi } from 'vitest'
import { EngineClient } from './engine-client.ts'

const undo: (() => void)[] = []
afterEach(() => {
  for (const one of undo.splice(0).reverse()) one()
})

it('ends the streams of a container that come when nobody waits for them any more', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'mh-engine-'))
  undo.push(() => rmSync(folder, { recursive: true }))
  const asked = Promise.withResolvers<Duplex>()
  const server = createServer().on('upgrade', (_request, socket) => asked.resolve(socket))
  await new Promise<void>((resolve) => server.listen(join(folder, 'socket'), resolve))
  undo.push(() => void server.close())
  const client = await EngineClient.open({ kind: 'unix', path: join(folder, 'socket') })
  undo.push(() => client.close())
  const deadline = new AbortController()
  const timeout = vi.spyOn(AbortSignal, 'timeout').mockReturnValue(deadline.signal)
  undo.push(() => timeout.mockRestore())
  const attaching = client.attach('box')
  const socket = await asked.promise
  deadline.abort(new DOMException('late', 'TimeoutError'))
  await expect(attaching).rejects.toThrow()
  const closed = new Promise((resolve) => socket.once('end', () => resolve('closed')))
  socket.resume().on('error', () => undefined)
  undo.push(() => socket.destroy())
  socket.write('HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n')
  expect(await Promise.race([closed, sleep(1_000, 'open')])).toBe('closed')
})
