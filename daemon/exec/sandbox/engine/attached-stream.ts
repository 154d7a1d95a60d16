/**
 * The attached streams of a container without a terminal, taken apart. Each frame: 1 byte which stream (1 output, 2 error), 3 bytes zero, 4 bytes
 * length (big-endian), then the bytes (Engine API, "Attach to a container", stream format). Payloads are passed on as they come, never collected.
 */
import type { Duplex, Writable } from 'node:stream'
import type { GuestTransport } from '../guest/guest-connection.ts'

const HEADER = 8

/** Owns `stream`. */
export function attachedTransport(stream: Duplex): GuestTransport {
  let onData: (bytes: Uint8Array, fd: 1 | 2) => void = () => {}
  let onEnd: ((error?: Error) => void) | undefined
  let ended: { readonly error?: Error } | undefined
  const end = (error?: Error): void => {
    if (ended) return
    ended = error === undefined ? {} : { error }
    onEnd?.(error)
  }
  const split = frameSplitter((bytes, fd) => onData(bytes, fd))
  stream.on('data', (part: Buffer) => {
    if (!split(part)) stream.destroy(new Error('The engine sent a frame that is none'))
  })
  stream.once('end', () => end())
  stream.once('error', end)
  stream.once('close', () => end())
  stream.pause()
  return {
    write: (...parts) => (stream.destroyed ? false : writeParts(stream, parts)),
    onDrain: (listener) => void stream.on('drain', listener),
    onData(listener) {
      onData = listener
      stream.resume()
    },
    onEnd(listener) {
      onEnd = listener
      if (ended) queueMicrotask(() => listener(ended?.error))
    },
    pause: () => void stream.pause(),
    resume: () => void stream.resume(),
    close: () => void stream.destroy(),
  }
}

/** As one write where the stream can. @returns whether there is room for more */
export function writeParts(stream: Writable, parts: readonly Uint8Array[]): boolean {
  stream.cork()
  let room = true
  for (const part of parts) room = stream.write(part)
  stream.uncork()
  return room
}

/** @returns a function that takes bytes and says false once they are no frames */
export function frameSplitter(onData: (bytes: Uint8Array, fd: 1 | 2) => void): (part: Uint8Array) => boolean {
  const header = Buffer.alloc(HEADER)
  let filled = 0
  let left = 0
  let fd: 1 | 2 = 1
  return (part) => {
    let at = 0
    while (at < part.length) {
      if (left === 0) {
        const take = Math.min(HEADER - filled, part.length - at)
        header.set(part.subarray(at, at + take), filled)
        filled += take
        at += take
        if (filled < HEADER) continue
        filled = 0
        const stream = header[0]
        if (stream !== 1 && stream !== 2) return false
        fd = stream
        left = header.readUInt32BE(4)
        continue
      }
      const take = Math.min(left, part.length - at)
      onData(part.subarray(at, at + take), fd)
      left -= take
      at += take
    }
    return true
  }
}
