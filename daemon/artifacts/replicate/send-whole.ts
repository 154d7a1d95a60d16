/** An answer to a fetch (read-pack.ts) whose pack is a file that lies here: read a packet ahead, nothing of it parsed. The asker's Git checks it like any other. */
import { bandHead, FLUSH, MAX_BAND, packet } from '../../../protocol/artifact/pkt-line.ts'
import { MeshError } from '../../../protocol/errors.ts'
import type { WholePack } from '../store/whole-pack.ts'

/** Packets, each a piece of its own. Leaves the file open. @throws MeshError E_STORAGE when it is cut or cannot be read */
export async function* wholePackPackets(pack: WholePack): AsyncGenerator<Buffer> {
  yield packet('packfile\n')
  for (let at = 0, next = readAt(pack, at); next !== undefined; ) {
    const piece = await next
    at += MAX_BAND
    next = readAt(pack, at)
    // Whoever stops listening leaves it to itself
    next?.catch(() => undefined)
    yield piece
  }
  yield FLUSH
}

/** @returns undefined at the end */
function readAt({ file, bytes }: WholePack, at: number): Promise<Buffer> | undefined {
  const length = Math.min(MAX_BAND, bytes - at)
  return length <= 0 ? undefined : readPiece(file, at, length)
}

async function readPiece(file: WholePack['file'], at: number, length: number): Promise<Buffer> {
  const head = bandHead(1, length)
  const piece = Buffer.allocUnsafe(head.length + length)
  head.copy(piece)
  const { bytesRead } = await file.read(piece, head.length, length, at)
  if (bytesRead === length) return piece
  throw new MeshError('E_STORAGE', 'Cannot serve a fetch: a pack is shorter than it was')
}
