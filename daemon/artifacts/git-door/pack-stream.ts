/** A body read piece by piece: the command list first, then the pack as it comes. */
import { MeshError } from '../../../protocol/errors.ts'

export class PieceReader {
  readonly #source: AsyncIterator<Buffer, void>
  #held: Buffer = Buffer.alloc(0)
  #over = false

  constructor(source: AsyncIterator<Buffer, void>) {
    this.#source = source
  }

  /** What was read and not taken yet. */
  get held(): Buffer {
    return this.#held
  }

  /** Adds the next chunk to `held`. @returns false at the end */
  async more(): Promise<boolean> {
    if (this.#over) return false
    const { done, value } = await this.#source.next()
    if (done === true) this.#over = true
    else this.#held = this.#held.length === 0 ? value : Buffer.concat([this.#held, value])
    return !this.#over
  }

  /** Takes the first bytes of what is held. */
  skip(bytes: number): void {
    this.#held = this.#held.subarray(bytes)
  }

  /** The rest, as it comes. */
  async *rest(): AsyncGenerator<Buffer, void> {
    if (this.#held.length > 0) yield this.#held
    this.#held = Buffer.alloc(0)
    for (;;) {
      const { done, value } = this.#over ? { done: true, value: undefined } : await this.#source.next()
      if (done === true || value === undefined) return
      yield value
    }
  }
}

const HEADER_BYTES = 12

/**
 * Objects of the pack that begins with what comes next ("PACK", version, count: gitformat-pack). @returns undefined when nothing comes
 * @throws MeshError E_OBJECT
 */
export async function packObjects(reader: PieceReader): Promise<number | undefined> {
  while (reader.held.length < HEADER_BYTES && (await reader.more()));
  const { held } = reader
  if (held.length === 0) return undefined
  const version = held.length < HEADER_BYTES ? 0 : held.readUInt32BE(4)
  if (held.toString('latin1', 0, 4) !== 'PACK' || (version !== 2 && version !== 3))
    throw new MeshError('E_OBJECT', 'Cannot take the push: what follows its commands is no pack')
  return held.readUInt32BE(8)
}
