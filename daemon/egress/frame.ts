/** One JSON message at the beginning of a byte stream that goes on as something else: [u32 BE length][UTF-8 JSON]. */
import type { Socket } from 'node:net'
import { EGRESS_LIMITS } from '../../protocol/egress/limits.ts'

export function openingFrame(message: unknown): Buffer {
  const body = Buffer.from(JSON.stringify(message), 'utf8')
  const header = Buffer.alloc(4)
  header.writeUInt32BE(body.length)
  return Buffer.concat([header, body])
}

/** What `bytes` begins with, and where the rest begins; undefined while more is needed. @throws RangeError too long, SyntaxError no JSON */
export function parseOpening(bytes: Buffer): { message: unknown; end: number } | undefined {
  if (bytes.length < 4) return undefined
  const length = bytes.readUInt32BE(0)
  if (length > EGRESS_LIMITS.tunnelOpeningBytes) throw new RangeError(`an opening has ${length} bytes`)
  if (bytes.length < 4 + length) return undefined
  return { message: JSON.parse(bytes.toString('utf8', 4, 4 + length)), end: 4 + length }
}

/** Reads the message from a socket and leaves what follows in it. @throws Error when it ends, is late or wrong */
export function readOpening(socket: Socket): Promise<unknown> {
  return new Promise((resolve, reject) => {
    let bytes = Buffer.alloc(0)
    const timer = setTimeout(() => finish(new Error('no opening in time')), EGRESS_LIMITS.handshakeMs)
    const finish = (error: Error | undefined, message?: unknown) => {
      clearTimeout(timer)
      socket.off('data', onData).off('error', finish).off('close', onClose).pause()
      if (error === undefined) resolve(message)
      else reject(error)
    }
    const onClose = () => finish(new Error('ended before the opening'))
    const onData = (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk])
      try {
        const opening = parseOpening(bytes)
        if (opening === undefined) return
        finish(undefined, opening.message)
        if (opening.end < bytes.length) socket.unshift(bytes.subarray(opening.end))
      } catch (error) {
        finish(error instanceof Error ? error : new Error('not an opening'))
      }
    }
    socket.on('data', onData).on('error', finish).on('close', onClose)
  })
}
