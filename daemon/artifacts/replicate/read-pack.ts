/**
 * The answer to a fetch (gitprotocol-v2, "packfile" section): a line "packfile", then packets whose first byte is their band, 1 the pack, 2 progress, which is
 * dropped, 3 the other side's last words; flush at the end.
 */
import { MeshError } from '../../../protocol/errors.ts'
import { band, FLUSH, lineOf, packet, type PacketReader } from '../../../protocol/artifact/pkt-line.ts'

/** Packets before the pack: none is asked for. */
const MAX_LINES = 16
/** Progress in one answer, bytes: none is asked for either, but Git keeps a slow stream alive with empty packets. */
const MAX_PROGRESS = 64 << 10

/** Such an answer with a pack that is here whole. */
export function packPackets(pack: Buffer): Buffer {
  return Buffer.concat([packet('packfile\n'), band(1, pack), FLUSH])
}

/** The pack's bytes, as they come; each piece is valid until the next is asked for. @throws MeshError E_PROTOCOL */
export async function* readPack(packets: PacketReader): AsyncGenerator<Uint8Array> {
  await skipToPack(packets)
  let progress = 0
  for (;;) {
    const head = await need(packets.head())
    if (typeof head !== 'number') {
      if (head.kind === 'flush') return
      throw broken('the pack is parted')
    }
    const [number] = head === 0 ? [] : await packets.take(1)
    if (number === 1) yield* pieces(packets, head - 1)
    else if (number === 3) throw broken('it could not make a pack')
    else if (number !== 2) throw broken('a packet of the pack names no band')
    else if ((progress += head) > MAX_PROGRESS) throw broken('it talks and sends no pack')
    else await packets.take(head - 1)
  }
}

/** A pack's header (gitformat-pack): "PACK", version, number of objects; 32 bits each, big-endian. */
const HEADER_BYTES = 12
const SIGNATURE = 0x5041434b

export interface BegunPack {
  /** Objects in it, as it says */
  readonly count: number
  /** Whether it is no longer than was read */
  readonly isShort: boolean
  /** The whole pack; each piece is valid until the next is asked for */
  readonly bytes: AsyncIterable<Uint8Array>
}

/** Reads the beginning of a pack, about `most` bytes. @throws MeshError E_PROTOCOL when it does not begin as a pack does, and what the pack throws */
export async function begun(pack: AsyncIterable<Uint8Array>, most: number): Promise<BegunPack> {
  const source = pack[Symbol.asyncIterator]()
  const parts: Buffer[] = []
  let length = 0
  let isShort = false
  while (length <= most && !isShort) {
    const next = await source.next()
    if (next.done === true) isShort = true
    else {
      parts.push(Buffer.from(next.value))
      length += next.value.length
    }
  }
  const first = Buffer.concat(parts)
  if (length < HEADER_BYTES || first.readUInt32BE(0) !== SIGNATURE) throw broken('what comes is no pack')
  return { count: first.readUInt32BE(8), isShort, bytes: joined(first, source) }
}

async function* joined(first: Buffer, rest: AsyncIterator<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield first
  for (;;) {
    const next = await rest.next()
    if (next.done === true) return
    yield next.value
  }
}

async function* pieces(packets: PacketReader, length: number): AsyncGenerator<Uint8Array> {
  for (let left = length; left > 0; ) {
    const piece = await packets.some(left)
    left -= piece.length
    yield piece
  }
}

async function skipToPack(packets: PacketReader): Promise<void> {
  for (let lines = 0; lines < MAX_LINES; lines++) {
    const next = await need(packets.next())
    if (next.kind === 'delimiter') continue
    if (next.kind !== 'data') throw broken('it ends before the pack')
    const line = lineOf(next.payload.subarray(0, 16))
    if (line === 'packfile') return
    if (line.startsWith('ERR ')) throw broken('it refused')
  }
  throw broken('no pack comes')
}

async function need<T>(coming: Promise<T | undefined>): Promise<T> {
  const found = await coming
  if (found === undefined) throw broken('it is cut off')
  return found
}

function broken(why: string): MeshError {
  return new MeshError('E_PROTOCOL', `Cannot fetch from a peer: of its answer, ${why}`)
}
