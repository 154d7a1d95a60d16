/**
 * The one request of Git's protocol version 2 (gitprotocol-v2) that nodes make of each other: the command `fetch`, with everything decided before. What to want is
 * known from signed records, so no refs are listed; what both sides have is known too, so there is no negotiation: one request, one answer.
 *
 *   command=fetch, capabilities, delim, thin-pack, no-progress, ofs-delta, want <oid>..., have <oid>..., done, flush
 *
 * The answering side reads it whole and makes it anew for its own `git upload-pack`: nothing else that Git would understand (filters, shallow, other commands) passes.
 */
import { isObjectId } from '../../../protocol/artifact/ref-name.ts'
import { MeshError } from '../../../protocol/errors.ts'
import {
  DELIMITER,
  FLUSH,
  lineOf,
  type Packet,
  packet,
  type PacketReader,
} from '../../../protocol/artifact/pkt-line.ts'

export interface Wanted {
  /** Object ids, hex; not empty */
  readonly wants: readonly string[]
  readonly haves: readonly string[]
}

/** Wants and haves together: the refs of some writers. 50 bytes each. */
export const MAX_REQUEST_OBJECTS = 16_384

const CAPABILITIES = ['command=fetch\n', 'agent=manyhands\n', 'object-format=sha1\n']
const OPTIONS = ['thin-pack\n', 'no-progress\n', 'ofs-delta\n']
/** All lines but those that name objects */
const PLAIN = [...CAPABILITIES, 'delimiter', ...OPTIONS, 'done'].map((line) => line.trimEnd())
const OTHER = 'it is another than this version makes'

/** `haves` that the other side does not know are ignored by it; beyond what a request holds they are left out. */
export function fetchRequest({ wants, haves }: Wanted): Buffer {
  if (wants.length > MAX_REQUEST_OBJECTS) {
    throw new MeshError('E_TOO_LARGE', `Cannot fetch: ${wants.length} refs at once are too many`)
  }
  return Buffer.concat([
    ...CAPABILITIES.map(packet),
    DELIMITER,
    ...OPTIONS.map(packet),
    ...wants.map((oid) => packet(`want ${oid}\n`)),
    ...haves.slice(0, MAX_REQUEST_OBJECTS - wants.length).map((oid) => packet(`have ${oid}\n`)),
    packet('done\n'),
    FLUSH,
  ])
}

/** @returns undefined when the asker ends instead: it needs no objects. @throws MeshError E_PROTOCOL for anything but the request above */
export async function readFetchRequest(packets: PacketReader): Promise<Wanted | undefined> {
  const first = await packets.next()
  if (first === undefined) return undefined
  const lines = [wordsOf(first)]
  const wants: string[] = []
  const haves: string[] = []
  for (let left = MAX_REQUEST_OBJECTS + 16; ; left--) {
    const next = await packets.next()
    if (next === undefined || left === 0) throw broken('it is cut off or too long')
    if (next.kind === 'flush') break
    const line = wordsOf(next)
    const [word, oid] = line.split(' ')
    if (word === 'want' && isObjectId(oid)) wants.push(oid)
    else if (word === 'have' && isObjectId(oid)) haves.push(oid)
    // One by one: a line may be long, and there may be many
    else if (lines.push(line) > PLAIN.length || line !== PLAIN[lines.length - 1]) throw broken(OTHER)
  }
  if (wants.length === 0 || lines.join('\n') !== PLAIN.join('\n')) throw broken(OTHER)
  return { wants, haves }
}

function wordsOf(next: Packet): string {
  return next.kind === 'data' ? lineOf(next.payload) : next.kind
}

function broken(why: string): MeshError {
  return new MeshError('E_PROTOCOL', `Cannot serve a fetch: of its request, ${why}`)
}
