import { getEventListeners } from 'node:events'
import { expect, it, vi } from 'vitest'
import type { BoxOpen } from '../../protocol/api.ts'
import { BoxStream } from './box-stream.ts'
import { Client } from './client.ts'
import { FRAME, type Duplex } from './duplex.ts'
import { MapRun } from './map.ts'
import { Session } from './session.ts'
import { Tasks } from './tasks.ts'
import { delay, onAbort, unlessAborted } from './wait.ts'

const nothing = (): void => undefined
const never = new Promise<never>(nothing)
const client = new Client({ request: () => never, close: () => Promise.resolve() })
const duplex: Duplex = {
  open: (type, _body, listener) => {
    if (type === FRAME.session) queueMicrotask(() => listener.onFrame(FRAME.opened, 0, '{"task":"t1"}'))
    return { send: nothing, sendWithId: nothing, sendData: nothing, sendCredit: nothing, release: nothing }
  },
}
const program = { source: '' }
const tasks = new Tasks(
  client,
  () => Promise.resolve(duplex),
  () => Promise.resolve(program),
)
const logs: BoxOpen = { op: 'logs', sandbox: 's', process: 1, follow: true }

// Node 20 warns above ten
it.each<[string, (signal: AbortSignal) => Promise<unknown>]>([
  ['delay()', (signal) => delay(60_000, signal)],
  ['unlessAborted()', (signal) => unlessAborted(never, signal)],
  ['a session', async (signal) => (await Session.open<number, number>(duplex, program, { signal })).call(1)],
  ['a map', (signal) => new MapRun(client, tasks, program, [1], { signal }).all()],
  ['an operation on a sandbox', (signal) => new BoxStream(duplex, logs, signal).done],
])('%s listens to a signal together with all others, and no longer than it must', async (_, start) => {
  const ending = new AbortController()
  const all = Array.from({ length: 20 }, () => start(ending.signal))
  expect(getEventListeners(ending.signal, 'abort')).toHaveLength(1)
  await new Promise((resolve) => setImmediate(resolve))
  expect(getEventListeners(ending.signal, 'abort')).toHaveLength(1)
  const rejected = all.map((one) => expect(one).rejects.toThrow())
  ending.abort(new Error('enough'))
  await Promise.all(rejected)
  expect(getEventListeners(ending.signal, 'abort')).toHaveLength(0)
})

it('onAbort() tells each listener once, and none that left before', () => {
  const ending = new AbortController()
  const [first, second, third] = [vi.fn<() => void>(), vi.fn<() => void>(), vi.fn<() => void>()]
  const forget = onAbort(ending.signal, first)
  onAbort(ending.signal, second)
  onAbort(ending.signal, second)
  forget()
  forget()
  const forgetThird = onAbort(ending.signal, () => {
    third()
    forgetThird()
  })
  ending.abort()
  ending.abort()
  expect([first, second, third].map((one) => one.mock.calls.length)).toEqual([0, 2, 1])
})

it('onAbort() leaves nothing on a signal that nobody listens to any more, and listens again', () => {
  const ending = new AbortController()
  onAbort(ending.signal, nothing)()
  expect(getEventListeners(ending.signal, 'abort')).toHaveLength(0)
  const told = vi.fn<() => void>()
  onAbort(ending.signal, told)
  ending.abort()
  expect(told).toHaveBeenCalledOnce()
})
