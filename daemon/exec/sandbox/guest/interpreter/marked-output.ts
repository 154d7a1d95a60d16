/** Takes apart what an interpreter writes: output of the code, and after the mark the answer. Pure; holds little but the answer. */
import { MeshError } from '../../../../../protocol/errors.ts'
import { collectBytes } from '../byte-queue.ts'

export interface MarkedPiece {
  /** What the code wrote */
  readonly output?: Buffer
  /** The request is over: JSON on standard output, nothing on standard error */
  readonly answer?: Buffer
}

const LENGTH_DIGITS = 12

export class MarkedOutput {
  readonly #mark: Buffer
  readonly #answers: boolean
  readonly #maxAnswer: number
  #kept: Buffer = Buffer.alloc(0)
  /** Of an answer, which may be long and come in many pieces: joined once, when all of it is there */
  #pieces: Uint8Array[] = []
  #have = 0
  /** Bytes of the answer; -1: not in one, -2: its length is being read */
  #length = -1

  /** @param answers whether an answer follows the mark */
  constructor(mark: string, answers: boolean, maxAnswer: number) {
    this.#mark = Buffer.from(`\0${mark}`, 'latin1')
    this.#answers = answers
    this.#maxAnswer = maxAnswer
  }

  /** @throws MeshError E_OUTPUT for an answer over its limit, E_PROTOCOL for one that is none */
  *push(bytes: Uint8Array): Generator<MarkedPiece, void, undefined> {
    if (this.#length >= 0) {
      this.#collect(bytes)
      if (this.#have < this.#length) return
    } else this.#kept = Buffer.concat([this.#kept, bytes])
    for (;;) {
      if (this.#length === -1) {
        const at = this.#kept.indexOf(this.#mark)
        const end = at < 0 ? this.#kept.length - this.#beginning() : at
        if (end > 0) yield { output: this.#kept.subarray(0, end) }
        this.#kept = this.#kept.subarray(at < 0 ? end : at + this.#mark.length)
        if (at < 0) return
        if (!this.#answers) yield { answer: Buffer.alloc(0) }
        else this.#length = -2
      } else if (this.#length === -2) {
        const at = this.#kept.indexOf(10)
        if (at < 0 && this.#kept.length <= LENGTH_DIGITS) return
        this.#length = this.#readLength(at)
        this.#collect(this.#kept.subarray(at + 1))
      } else {
        if (this.#have < this.#length) return
        const all = Buffer.concat(this.#pieces, this.#have)
        yield { answer: all.subarray(0, this.#length) }
        this.#kept = all.subarray(this.#length)
        this.#pieces = []
        this.#have = 0
        this.#length = -1
      }
    }
  }

  #collect(bytes: Uint8Array): void {
    collectBytes(this.#pieces, bytes)
    this.#have += bytes.length
  }

  #readLength(at: number): number {
    const text = this.#kept.toString('latin1', 0, Math.max(0, at))
    if (!/^\d{1,12}$/.test(text)) throw new MeshError('E_PROTOCOL', 'The interpreter in the sandbox gave no answer')
    if (Number(text) <= this.#maxAnswer) return Number(text)
    throw new MeshError('E_OUTPUT', `The results have ${text} bytes, the limit is ${this.#maxAnswer}`)
  }

  /** Bytes at the end that may be the beginning of a mark. */
  #beginning(): number {
    for (let n = Math.min(this.#mark.length - 1, this.#kept.length); n > 0; n--) {
      if (this.#kept.subarray(this.#kept.length - n).equals(this.#mark.subarray(0, n))) return n
    }
    return 0
  }
}
