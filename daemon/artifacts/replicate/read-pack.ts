/**
 * The answer to a fetch (gitprotocol-v2, "packfile" section): a line "packfile", then packets whose first byte is their band, 1 the pack, 2 progress, which is
 * dropped, 3 the other side's last words; flush at the end.
 */
import { MeshError } from '../../../protocol/errors.ts'
import { FLUSH, PKT_DATA_BYTES, type Pkt, pktLine, type PktReader } from './pkt-line.ts'

/** Packets before the pack: none is asked for. */
const MAX_LINES = 16
/** Progress in one answer, bytes: none is asked for either, but Git keeps a slow stream alive with empty packets. */
const MAX_PROGRESS = 64 << 10

/** Such an answer with a pack that is here whole. */
export function packPackets(pack: Buffer): Buffer {
  const parts = [pktLine('packfile\n')]
  for (let at = 0; at < pack.length; at += PKT_DATA_BYTES - 1)
    parts.push(pktLine(Buffer.concat([Buffer.of(1), pack.subarray(at, at + PKT_DATA_BYTES - 1)])))
  return Buffer.concat([...parts, FLUSH])
}

/** The pack's bytes; each piece is valid until the next is asked for. @throws MeshError E_PROTOCOL */
export async function* readPack(packets: PktReader): AsyncGenerator<Uint8Array> {
  await skipToPack(packets)
  let progress = 0
  for (;;) {
    const pkt = await need(packets)
    if (pkt.type === 'flush') return
    if (pkt.type !== 'data') throw broken('the pack is parted')
    const band = pkt.bytes[0]
    if (band === 1) yield pkt.bytes.subarray(1)
    else if (band === 3) throw broken('it could not make a pack')
    else if (band !== 2) throw broken('a packet of the pack names no band')
    else if ((progress += pkt.bytes.length) > MAX_PROGRESS) throw broken('it talks and sends no pack')
  }
}

async function skipToPack(packets: PktReader): Promise<void> {
  for (let lines = 0; lines < MAX_LINES; lines++) {
    const pkt = await need(packets)
    if (pkt.type === 'delim') continue
    if (pkt.type !== 'data') throw broken('it ends before the pack')
    const line = Buffer.from(pkt.bytes.subarray(0, 16)).toString('latin1')
    if (line === 'packfile\n') return
    if (line.startsWith('ERR ')) throw broken('it refused')
  }
  throw broken('no pack comes')
}

async function need(packets: PktReader): Promise<Pkt> {
  const pkt = await packets.next()
  if (pkt === undefined) throw broken('it is cut off')
  return pkt
}

function broken(why: string): MeshError {
  return new MeshError('E_PROTOCOL', `Cannot fetch from a peer: of its answer, ${why}`)
}
