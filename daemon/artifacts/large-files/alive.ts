import type { Watchdog } from '../replicate/watchdog.ts'

/** Tells the watchdog of everything that comes. */
export async function* alive(chunks: AsyncIterable<Uint8Array>, dog: Watchdog): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    dog.moved(chunk.byteLength)
    yield chunk
  }
}
