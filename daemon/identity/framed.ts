/** One message on a byte stream: [u32 BE length][bytes]. Each read ends: by the message, by the limit, or by the signal. */
import { MeshError } from '../../protocol/errors.ts'
import type { ByteStream } from '../net/mesh-net.ts'

const HEADER_BYTES = 4

export async function writeFramed(stream: ByteStream, message: Uint8Array, signal: AbortSignal): Promise<void> {
  const header = Buffer.alloc(HEADER_BYTES)
  header.writeUInt32BE(message.length)
  await stream.write(Buffer.concat([header, message]), signal)
}

/** @throws MeshError E_PROTOCOL too long or cut off, E_TIMEOUT when the signal aborts */
export async function readFramed(stream: ByteStream, maxBytes: number, signal: AbortSignal): Promise<Uint8Array> {
  const late = new MeshError('E_TIMEOUT', 'No message came in time')
  const onAbort = () => stream.abort(late)
  if (signal.aborted) onAbort()
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await collect(stream, maxBytes)
  } catch (error) {
    throw signal.aborted ? late : error
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

async function collect(stream: ByteStream, maxBytes: number): Promise<Uint8Array> {
  let all = Buffer.alloc(0)
  for await (const chunk of stream.chunks()) {
    all = Buffer.concat([all, chunk])
    if (all.length < HEADER_BYTES) continue
    const length = all.readUInt32BE(0)
    if (length > maxBytes) throw new MeshError('E_PROTOCOL', `A message has ${length} bytes and may have ${maxBytes}`)
    if (all.length >= HEADER_BYTES + length) return new Uint8Array(all.subarray(HEADER_BYTES, HEADER_BYTES + length))
  }
  throw new MeshError('E_PROTOCOL', 'A message was cut off')
}
