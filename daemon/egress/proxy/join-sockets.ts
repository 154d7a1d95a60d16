import type { Duplex } from 'node:stream'
import { bytesPassed } from '../../memory/reclaim.ts'

/** Copies both ways, with backpressure and half-closing, until both are over. What breaks one ends the other. `ended` is called once. */
export function joinSockets(a: Duplex, b: Duplex, ended: () => void): void {
  let open = 2
  const follow = (other: Duplex) => () => {
    open -= 1
    if (open === 0) ended()
    // What was read before the end is still to be written; nothing can come back any more
    else if (other.writableFinished || other.destroyed) other.destroy()
    else other.once('finish', () => other.destroy()).end()
  }
  for (const [socket, other] of [
    [a, b],
    [b, a],
  ] as const) {
    socket.on('error', () => other.destroy())
    // One that closed while the other was dialed will not say so again
    if (socket.closed) queueMicrotask(follow(other))
    else socket.once('close', follow(other))
  }
  if (a.destroyed || b.destroyed) {
    a.destroy()
    b.destroy()
  }
  for (const socket of [a, b]) socket.on('data', (bytes: Uint8Array) => bytesPassed(bytes.length))
  a.pipe(b)
  b.pipe(a)
}
