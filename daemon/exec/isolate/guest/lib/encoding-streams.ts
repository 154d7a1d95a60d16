/** TextEncoderStream and TextDecoderStream (Encoding 7.3, 7.4): transform streams around encoder and decoder. */
import { exposeInterface } from './web-idl.ts'

export default () => {
  class TextEncoderStream {
    readonly #transform: TransformStream<unknown, Uint8Array>
    constructor() {
      const encoder = new TextEncoder()
      // The first half of a surrogate pair waits for the chunk that may hold the second.
      let waiting = ''
      this.#transform = new TransformStream({
        transform(chunk, controller) {
          let text = waiting + `${chunk}`
          waiting = /[\ud800-\udbff]$/.test(text) ? text.slice(-1) : ''
          text = text.slice(0, text.length - waiting.length)
          if (text !== '') controller.enqueue(encoder.encode(text))
        },
        flush(controller) {
          if (waiting !== '') controller.enqueue(encoder.encode(waiting))
        },
      })
    }
    get encoding() {
      return 'utf-8'
    }
    get readable() {
      return this.#transform.readable
    }
    get writable() {
      return this.#transform.writable
    }
  }

  class TextDecoderStream {
    readonly #decoder: InstanceType<typeof TextDecoder>
    readonly #transform: TransformStream<ArrayBuffer | ArrayBufferView, string>
    constructor(label: string = 'utf-8', options?: { fatal?: boolean; ignoreBOM?: boolean }) {
      const decoder = new TextDecoder(label, options)
      this.#decoder = decoder
      this.#transform = new TransformStream({
        transform(chunk, controller) {
          const text = decoder.decode(chunk as Uint8Array, { stream: true })
          if (text !== '') controller.enqueue(text)
        },
        flush(controller) {
          const text = decoder.decode()
          if (text !== '') controller.enqueue(text)
        },
      })
    }
    get encoding() {
      return this.#decoder.encoding
    }
    get fatal() {
      return this.#decoder.fatal
    }
    get ignoreBOM() {
      return this.#decoder.ignoreBOM
    }
    get readable() {
      return this.#transform.readable
    }
    get writable() {
      return this.#transform.writable
    }
  }

  exposeInterface(TextEncoderStream)
  exposeInterface(TextDecoderStream)
  return { TextEncoderStream, TextDecoderStream }
}
