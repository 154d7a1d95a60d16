/** Envelopes of records on a fetch's stream: each as many packets as it needs, closed by a delim; a flush after the last. */
import { LIMITS } from '../../../protocol/limits.ts'
import { isErrorCode, MeshError } from '../../../protocol/errors.ts'
import { DELIMITER, MAX_PAYLOAD, packet, type PacketReader } from '../../../protocol/artifact/pkt-line.ts'

/** What one stream carries at most; whoever lacks more asks again. */
export const RECORDS_PER_FETCH = 4_096
export const RECORD_BYTES_PER_FETCH = 16 << 20

export function recordPackets(text: string): Buffer {
  const bytes = Buffer.from(text)
  const packets: Buffer[] = []
  for (let at = 0; at < bytes.length; at += MAX_PAYLOAD) {
    packets.push(packet(bytes.subarray(at, at + MAX_PAYLOAD)))
  }
  return Buffer.concat([...packets, DELIMITER])
}

/** @throws MeshError E_PROTOCOL beyond the bounds, and the code the other side gives instead of records */
export async function readRecords(packets: PacketReader): Promise<string[]> {
  const texts: string[] = []
  let parts: Buffer[] = []
  let length = 0
  let total = 0
  for (;;) {
    const next = await packets.next()
    if (next?.kind === 'flush' && parts.length === 0) return texts
    if (next?.kind === 'delimiter' && parts.length > 0) {
      texts.push(Buffer.concat(parts).toString('utf8'))
      if (texts.length > RECORDS_PER_FETCH) throw broken('too many')
      parts = []
      length = 0
    } else if (next?.kind === 'data' && next.payload.length > 0) {
      if (texts.length === 0 && parts.length === 0) throwIfError(next.payload)
      length += next.payload.length
      total += next.payload.length
      const most = RECORD_BYTES_PER_FETCH + LIMITS.artifactRecordBytes
      if (length > LIMITS.artifactRecordBytes || total > most) throw broken('too long')
      parts.push(Buffer.from(next.payload))
    } else throw broken('cut off')
  }
}

export function errorPacket(error: MeshError): Buffer {
  return packet(`ERR ${error.code}`)
}

function throwIfError(bytes: Uint8Array): void {
  const [word, code] = Buffer.from(bytes.subarray(0, 64)).toString('latin1').split(' ')
  if (word !== 'ERR') return
  const known = isErrorCode(code) ? code : 'E_PROTOCOL'
  throw new MeshError(known, 'Cannot fetch from a peer: it refused')
}

function broken(why: string): MeshError {
  return new MeshError('E_PROTOCOL', `Cannot fetch from a peer: its records are ${why}`)
}
