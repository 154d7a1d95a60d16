import { once } from 'node:events'
import { duplexPair } from 'node:stream'
import { expect, it, vi } from 'vitest'
import { joinSockets } from './join-sockets.ts'

it.each([
  ['the first', true, false],
  ['the second', false, true],
  ['both', true, true],
])('ends, and says so once, also when %s had closed before', async (_, first, second) => {
  const [a] = duplexPair()
  const [b] = duplexPair()
  for (const [socket, gone] of [
    [a, first],
    [b, second],
  ] as const)
    if (gone) await once(socket.destroy(), 'close')
  const ended = vi.fn<() => void>()
  joinSockets(a, b, ended)
  await vi.waitFor(() => expect(ended).toHaveBeenCalledTimes(1))
  await new Promise((resolve) => setImmediate(resolve))
  expect([a.destroyed, b.destroyed, ended.mock.calls.length]).toEqual([true, true, 1])
})
