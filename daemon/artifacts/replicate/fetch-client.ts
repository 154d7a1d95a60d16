/**
 * The asking side of Git's protocol version 2 (gitprotocol-v2), as much of it as one node needs of another: the command `fetch`, once, with everything decided
 * before. What to want is known from signed records, so no refs are listed; what both sides have is known too, so there is no negotiation: one request, one answer.
 *
 *   answers: capability advertisement   "version 2", then one line each, flush
 *   asks:    command=fetch, capabilities, delim, options, want..., have..., done, flush; after the answer flush: no more commands
 *   answers: "packfile", then packets of band 1 (pack), 2 (progress, dropped) or 3 (an error), flush
 */
import { MeshError } from '../../../protocol/errors.ts'
import { FLUSH, DELIM, type Pkt, type PktReader, pktLine } from './pkt-line.ts'

export interface Wanted {
  /** Object ids, hex; not empty */
  readonly wants: readonly string[]
  readonly haves: readonly string[]
}

/** Lines of an advertisement, and packets before the pack: an honest peer needs a dozen. */
const MAX_LINES = 64

/** The request; `haves` that the other side does not know are ignored by it. */
export function fetchRequest({ wants, haves }: Wanted): Buffer {
  return Buffer.concat([
    ...['command=fetch\n', 'agent=manyhands\n', 'object-format=sha1\n'].map(pktLine),
    DELIM,
    ...['thin-pack\n', 'no-progress\n', 'ofs-delta\n'].map(pktLine),
    ...wants.map((oid) => pktLine(`want ${oid}\n`)),
    ...haves.map((oid) => pktLine(`have ${oid}\n`)),
    pktLine('done\n'),
    FLUSH,
  ])
}

/** Reads the advertisement. @throws MeshError E_VERSION when it offers no fetch of SHA-1 objects by version 2, E_PROTOCOL */
export async function readAdvertisement(packets: PktReader): Promise<void> {
  const lines: string[] = []
  for (;;) {
    const pkt = await need(packets)
    if (pkt.type === 'flush') break
    if (pkt.type !== 'data' || lines.length === MAX_LINES) throw broken('the advertisement has another form')
    lines.push(textOf(pkt.bytes))
  }
  const format = lines.find((line) => line.startsWith('object-format='))
  const speaks = lines[0] === 'version 2' && lines.some((line) => /^fetch(=|$)/.test(line))
  if (!speaks || (format !== undefined && format !== 'object-format=sha1')) {
    throw new MeshError('E_VERSION', 'Cannot fetch from a peer: its Git does not speak protocol version 2 for SHA-1')
  }
}

/** The pack's bytes; each piece is valid until the next is asked for. @throws MeshError E_PROTOCOL */
export async function* readPack(packets: PktReader): AsyncGenerator<Uint8Array> {
  await skipToPack(packets)
  for (;;) {
    const pkt = await need(packets)
    if (pkt.type === 'flush') return
    if (pkt.type !== 'data') throw broken('the pack is parted')
    const band = pkt.bytes[0]
    if (band === 1) yield pkt.bytes.subarray(1)
    else if (band === 3) throw broken('it could not make a pack')
    else if (band !== 2) throw broken('a packet of the pack names no band')
  }
}

/** Sections before the pack (none is asked for) are read over. */
async function skipToPack(packets: PktReader): Promise<void> {
  for (let lines = 0; lines < MAX_LINES; lines++) {
    const pkt = await need(packets)
    if (pkt.type === 'delim') continue
    if (pkt.type !== 'data') throw broken('it ends before the pack')
    const line = textOf(pkt.bytes)
    if (line === 'packfile') return
    if (line.startsWith('ERR ')) throw broken('it refused')
  }
  throw broken('no pack comes')
}

async function need(packets: PktReader): Promise<Pkt> {
  const pkt = await packets.next()
  if (pkt === undefined) throw broken('it is cut off')
  return pkt
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('utf8').replace(/\n$/, '')
}

function broken(why: string): MeshError {
  return new MeshError('E_PROTOCOL', `Cannot fetch from a peer: of its answer, ${why}`)
}
