/** Blob and File (File API): bytes that do not change. */
import { bytesOf, exposeInterface } from './web-idl.ts'

interface BlobOptions {
  type?: unknown
  endings?: unknown
}

export default () => {
  class Blob {
    readonly #bytes: Uint8Array<ArrayBuffer>
    readonly #type: string

    constructor(parts: Iterable<unknown> = [], options?: BlobOptions) {
      if (typeof parts !== 'object' || parts === null || !(Symbol.iterator in parts))
        throw new TypeError('Blob: the first argument must be a list of parts')
      const native = options?.endings === 'native'
      this.#bytes = concat([...parts].map((part) => this.#partBytes(part, native)))
      const type = options?.type === undefined ? '' : `${options.type}`
      this.#type = /[^\x20-\x7e]/.test(type) ? '' : type.toLowerCase()
    }
    #partBytes(part: unknown, native: boolean): Uint8Array {
      if (typeof part === 'object' && part !== null && #bytes in part) return part.#bytes
      if (part instanceof ArrayBuffer || ArrayBuffer.isView(part)) return bytesOf(part, 'Blob')
      const text = `${part}`
      return new TextEncoder().encode(native ? text.replace(/\r\n?/g, '\n') : text)
    }
    get size() {
      return this.#bytes.length
    }
    get type() {
      return this.#type
    }
    slice(start?: number, end?: number, type: unknown = ''): Blob {
      return new Blob([this.#bytes.subarray(start ?? 0, end ?? this.size)], { type })
    }
    async arrayBuffer(): Promise<ArrayBuffer> {
      return this.#bytes.slice().buffer
    }
    async bytes(): Promise<Uint8Array> {
      return this.#bytes.slice()
    }
    async text(): Promise<string> {
      return new TextDecoder().decode(this.#bytes)
    }
    stream(): ReadableStream<Uint8Array> {
      const bytes = this.#bytes
      return new ReadableStream({
        type: 'bytes',
        start(controller) {
          if (bytes.length > 0) controller.enqueue(bytes.slice())
          controller.close()
        },
      })
    }
  }

  class File extends Blob {
    readonly #name: string
    readonly #lastModified: number
    constructor(parts: Iterable<unknown>, name: unknown, options?: BlobOptions & { lastModified?: unknown }) {
      if (arguments.length < 2) throw new TypeError('File: parts and a name are needed')
      super(parts, options)
      this.#name = `${name}`.toWellFormed()
      this.#lastModified =
        options?.lastModified === undefined ? Date.now() : Math.trunc(Number(options.lastModified)) || 0
    }
    get name() {
      return this.#name
    }
    get lastModified() {
      return this.#lastModified
    }
    get webkitRelativePath() {
      return ''
    }
  }
  exposeInterface(Blob)
  exposeInterface(File)
  return { Blob, File }
}

function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}
