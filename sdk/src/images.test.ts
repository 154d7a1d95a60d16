/** An operation whose source fails at the moment the operation itself is ended. */
import { expect, it } from 'vitest'
import { Client } from './client.ts'
import type { Channel, Duplex } from './duplex.ts'
import { Images } from './images.ts'
import { exec } from './sandbox-process.ts'

const nothing = (): void => undefined
const channel: Channel = {
  send: nothing,
  sendWithId: nothing,
  sendData: nothing,
  sendCredit: nothing,
  release: nothing,
}
const duplex: Duplex = { open: () => channel }
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
  [
    'exec()',
    (stdin: AsyncIterable<Uint8Array>, signal: AbortSignal) =>
      exec({ sandbox: 's', duplex: () => Promise.resolve(duplex) }, ['cat'], { stdin, signal }),
  ],
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
