/** Reads a tar of unknown origin, within bounds: names, entries, headers and bytes are counted before anything is believed. */
import {
  BLOCK,
  type EntryType,
  notTar,
  type RawHeader,
  readHeader,
  readPax,
  type TarEntry,
  utf8,
} from './tar-format.ts'

export interface TarBounds {
  readonly entries: number
  /** Of all files together */
  readonly bytes: number
}

/** Of a name or a link target */
const NAME_BYTES = 4_096
/** Of a pax header or a GNU long name */
const HEADER_BYTES = 64 << 10

export interface TarItem {
  readonly entry: TarEntry
  /** To be read before the next entry; what is left over is skipped */
  readonly content: AsyncIterable<Uint8Array>
}

/** @throws MeshError E_PROTOCOL */
export async function* readTar(stream: AsyncIterable<Uint8Array>, bounds: TarBounds): AsyncGenerator<TarItem, void> {
  const source = new BlockSource(stream)
  const seen = { entries: 0, bytes: 0 }
  try {
    for (;;) {
      const found = await nextEntry(source)
      if (!found) return
      if (++seen.entries > bounds.entries) throw notTar(`more than ${bounds.entries} entries`)
      seen.bytes += found.bytes
      if (seen.bytes > bounds.bytes) throw notTar(`more than ${bounds.bytes} bytes of files`)
      yield { entry: found, content: source.content(found.bytes) }
      await source.skipRest()
    }
  } finally {
    await source.close()
  }
}

async function nextEntry(source: BlockSource): Promise<TarEntry | undefined> {
  let pax: ReadonlyMap<string, string> = new Map()
  let longName: string | undefined
  let longTarget: string | undefined
  for (let extra = 0; extra < 8; extra++) {
    const block = await source.block()
    // A stream that was cut between two entries has no end: what is missing must not go unnoticed.
    if (!block) throw notTar('it ends before its end')
    const header = readHeader(block)
    if (!header) return undefined
    if (header.type === 'x') pax = readPax(await source.small(header.bytes, HEADER_BYTES))
    else if (header.type === 'g') await source.small(header.bytes, HEADER_BYTES)
    else if (header.type === 'L') longName = ended(await source.small(header.bytes, HEADER_BYTES))
    else if (header.type === 'K') longTarget = ended(await source.small(header.bytes, HEADER_BYTES))
    else return settle(header, pax, longName, longTarget)
  }
  throw notTar('headers without an entry')
}

function settle(
  header: RawHeader,
  pax: ReadonlyMap<string, string>,
  longName: string | undefined,
  longTarget: string | undefined,
): TarEntry {
  if ([...pax.keys()].some((key) => key.startsWith('GNU.sparse'))) throw notTar('sparse files are not taken')
  const type = typeOf(header)
  const name = (pax.get('path') ?? longName ?? header.name).replace(/\/+$/, '')
  const target = type === 'symlink' ? (pax.get('linkpath') ?? longTarget ?? header.target) : ''
  const bytes = type === 'file' ? sizeOf(pax.get('size'), header.bytes) : 0
  if (type !== 'file' && header.bytes !== 0) throw notTar('a folder or link has content')
  if (Buffer.byteLength(name) > NAME_BYTES || Buffer.byteLength(target) > NAME_BYTES) throw notTar('a name is too long')
  const { mode, uid, modified } = header
  return { name, type, mode: mode & 0o777, uid, bytes, modified, target }
}

function typeOf({ type, name }: RawHeader): EntryType {
  if (type === '5' || (type === '\0' && name.endsWith('/'))) return 'folder'
  if (type === '0' || type === '\0') return 'file'
  if (type === '2') return 'symlink'
  const what = type === '1' ? 'hard links' : type === 'S' ? 'sparse files' : 'devices, pipes and other special files'
  throw notTar(`${what} are not taken`)
}

function sizeOf(pax: string | undefined, header: number): number {
  const bytes = pax === undefined ? header : /^\d{1,15}$/.test(pax) ? Number(pax) : Number.NaN
  if (!Number.isSafeInteger(bytes)) throw notTar('a size is no number')
  return bytes
}

const ended = (bytes: Uint8Array): string => utf8(bytes).replace(/\0+$/, '')

class BlockSource {
  readonly #iterator: AsyncIterator<Uint8Array>
  #rest: Uint8Array = new Uint8Array(0)
  /** Of the present entry: content, then the zeros after it */
  #left = 0
  #padding = 0

  constructor(stream: AsyncIterable<Uint8Array>) {
    this.#iterator = stream[Symbol.asyncIterator]()
  }

  /** @returns undefined at the end of the stream */
  async block(): Promise<Uint8Array | undefined> {
    const parts: Uint8Array[] = []
    let length = 0
    while (length < BLOCK) {
      const part = await this.#take(BLOCK - length)
      if (!part) {
        if (length === 0) return undefined
        throw notTar('it ends in the middle of a header')
      }
      parts.push(part)
      length += part.length
    }
    return Buffer.concat(parts)
  }

  async small(bytes: number, most: number): Promise<Uint8Array> {
    if (bytes > most) throw notTar('a header is too long')
    const parts: Uint8Array[] = []
    for await (const part of this.content(bytes)) parts.push(part)
    await this.skipRest()
    return Buffer.concat(parts)
  }

  /** From now on the source stands in this content, whether it is read or not. */
  content(bytes: number): AsyncIterable<Uint8Array> {
    this.#left = bytes
    this.#padding = (BLOCK - (bytes % BLOCK)) % BLOCK
    return this.#read()
  }

  async *#read(): AsyncGenerator<Uint8Array, void> {
    while (this.#left > 0) {
      const part = await this.#take(this.#left)
      if (!part) throw notTar('it ends in the middle of a file')
      this.#left -= part.length
      yield part
    }
  }

  async skipRest(): Promise<void> {
    for (let skip = this.#left + this.#padding; skip > 0; ) {
      const part = await this.#take(skip)
      if (!part) throw notTar('it ends in the middle of a file')
      skip -= part.length
    }
    this.#left = 0
    this.#padding = 0
  }

  async close(): Promise<void> {
    await this.#iterator.return?.()
  }

  async #take(most: number): Promise<Uint8Array | undefined> {
    while (this.#rest.length === 0) {
      const next = await this.#iterator.next()
      if (next.done === true) return undefined
      this.#rest = next.value
    }
    const part = this.#rest.subarray(0, most)
    this.#rest = this.#rest.subarray(part.length)
    return part
  }
}
