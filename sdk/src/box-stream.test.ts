/** Operations of sandboxes and images whose source fails, stands still, or fails at the moment the operation itself is ended. */
import { beforeEach, expect, it } from 'vitest'
import type { SandboxView } from '../../protocol/api.ts'
import { Client } from './client.ts'
import { type Channel, type ChannelListener, type Duplex, FRAME } from './duplex.ts'
import { Images } from './images.ts'
import { SandboxFiles } from './sandbox-files.ts'
import { exec } from './sandbox-process.ts'
import { Sandbox } from './sandbox.ts'

const nothing = (): void => undefined
let listener: ChannelListener
let sent: number[] = []
const channel: Channel = {
  send: (type) => void sent.push(type),
  sendWithId: nothing,
  sendData: nothing,
  sendCredit: nothing,
  release: nothing,
}
const duplex: Duplex = {
  open: (_type: number, _body: unknown, given: ChannelListener) => {
    listener = given
    return channel
  },
}
const box = { sandbox: 's', duplex: () => Promise.resolve(duplex) }
beforeEach(() => {
  sent = []
})
const client = new Client({
  request: () => Promise.reject(new Error('nothing is asked of the API')),
  close: () => Promise.resolve(),
})

it.each([
  [
    'images.import()',
    (tar: AsyncIterable<Uint8Array>, signal: AbortSignal) =>
      new Images(client, () => Promise.resolve(duplex)).import('debian:12', tar, { signal }),
  ],
  ['exec()', (stdin: AsyncIterable<Uint8Array>, signal: AbortSignal) => exec(box, ['cat'], { stdin, signal })],
])('%s rejects with the reason alone when the signal ends its source too', async (_, start) => {
  const ending = new AbortController()
  async function* source(): AsyncGenerator<Uint8Array> {
    yield Uint8Array.of(1)
    await new Promise((resolve) => ending.signal.addEventListener('abort', resolve))
    throw new Error('the source ended')
  }
  const done = start(source(), ending.signal)
  setImmediate(() => ending.abort(new Error('enough')))
  await expect(done).rejects.toThrow('enough')
  // What nobody waits for is told once the microtasks are over
  await new Promise((resolve) => setImmediate(resolve))
})

const readers = [
  [
    'images.import()',
    (source: AsyncIterable<Uint8Array>) => new Images(client, box.duplex).import('debian:12', source),
  ],
  ['exec()', (stdin: AsyncIterable<Uint8Array>) => exec(box, ['cat'], { stdin })],
  ['files.write()', (source: AsyncIterable<Uint8Array>) => new SandboxFiles(client, box).write('a', source)],
] as const

it.each(readers)('%s rejects with what its source throws, and cancels the operation', async (_, start) => {
  async function* source(): AsyncGenerator<Uint8Array> {
    yield Uint8Array.of(1)
    throw new Error('the disk is gone')
  }
  await expect(start(source())).rejects.toThrow('the disk is gone')
  expect(sent).toEqual([FRAME.cancel])
})

it.each(readers)('%s ends with its operation, though its source stands still', async (_, start) => {
  let ended = false
  let move = nothing
  const moved = new Promise<void>((resolve) => (move = resolve))
  async function* source(): AsyncGenerator<Uint8Array> {
    try {
      yield Uint8Array.of(1)
      await moved
      yield Uint8Array.of(2)
    } finally {
      ended = true
    }
  }
  const done = start(source())
  const problem = { type: 'x', title: 'x', status: 507, detail: 'the disk is full', code: 'E_STORAGE' }
  setImmediate(() => listener.onFrame(FRAME.problem, 0, JSON.stringify(problem)))
  await expect(done).rejects.toMatchObject({ code: 'E_STORAGE' })
  expect(ended).toBe(false)
  move()
  await expect.poll(() => ended).toBe(true)
})

it('exec() gives the result of a command that read nothing, though its input never ends', async () => {
  async function* source(): AsyncGenerator<Uint8Array> {
    yield Uint8Array.of(1)
    await new Promise(() => undefined)
  }
  const done = exec(box, ['true'], { stdin: source() })
  setImmediate(() => listener.onFrame(FRAME.done, 0, '{"end":{"reason":"exit","code":0}}'))
  expect((await done).ok).toBe(true)
})

it('takes no more than the window it gave', async () => {
  const done = exec(box, ['yes'], { stream: () => new Promise(() => undefined) })
  done.catch(nothing)
  await Promise.resolve()
  for (let piece = 0; piece < 16; piece++) listener.onData?.(1, new Uint8Array(64 << 10))
  expect(() => listener.onData?.(1, new Uint8Array(1))).toThrow(expect.objectContaining({ code: 'E_PROTOCOL' }))
})

/** Writes without an end, as fast as it is read. */
function flood(): void {
  listener.onData?.(1, new Uint8Array(64 << 10).fill(97))
}
const view = { id: 's' } as SandboxView
const noPort = () => Promise.reject(new Error('No port here'))

it.each([
  ['exec()', 'E_PROTOCOL', () => exec(box, ['yes'], {})],
  [
    'runCode()',
    'E_OUTPUT',
    () => new Sandbox({ client, duplex: box.duplex, openPort: noPort }, view).runCode('python', 'while 1: print("a")'),
  ],
  [
    'files.watch()',
    'E_PROTOCOL',
    async () => {
      for await (const _ of new SandboxFiles(client, box).watch());
    },
  ],
])('%s ends what gives more than it keeps', async (_, code, start) => {
  let over = false
  const done = start().finally(() => (over = true))
  done.catch(nothing)
  await new Promise((resolve) => setImmediate(resolve))
  for (let piece = 0; piece < 1024 && !over; piece++) {
    flood()
    await new Promise((resolve) => setImmediate(resolve))
  }
  expect(over).toBe(true)
  await expect(done).rejects.toMatchObject({ code })
  expect(sent).toEqual([FRAME.cancel])
})
