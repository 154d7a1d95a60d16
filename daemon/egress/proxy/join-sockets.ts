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
  a.on('error', () => b.destroy()).once('close', follow(b))
  b.on('error', () => a.destroy()).once('close', follow(a))
  if (a.destroyed || b.destroyed) {
    a.destroy()
    b.destroy()
  }
  for (const socket of [a, b]) socket.on('data', (bytes: Uint8Array) => bytesPassed(bytes.length))
  a.pipe(b)
  b.pipe(a)
}
