/** Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html): bytes in, events out. Bounded. */
import { protocolError } from './errors.ts'

export interface ServerEvent {
  readonly id: string | undefined
  /** The `event:` field. @default "message" */
  readonly name: string
  readonly data: string
}

export class SseParser {
  readonly #maxBytes: number
  readonly #decoder = new TextDecoder('utf-8', { fatal: true })
  /** An unfinished line, in pieces: joining it for every chunk would cost the square of its length */
  #pieces: string[] = []
  #size = 0
  #data: string[] = []
  #name = ''
  #id: string | undefined

  /** @param maxBytes of one event, counted in UTF-16 units of its lines */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  /** @throws ManyhandsError E_PROTOCOL when an event is too long or not UTF-8 */
  *feed(bytes: Uint8Array): Generator<ServerEvent> {
    const text = this.#decode(bytes)
    let start = 0
    for (;;) {
      const end = text.indexOf('\n', start)
      if (end < 0) break
      this.#pieces.push(text.slice(start, end))
      this.#count(end - start)
      const line = this.#pieces.length === 1 ? (this.#pieces[0] ?? '') : this.#pieces.join('')
      this.#pieces = []
      start = end + 1
      const event = this.#line(line.endsWith('\r') ? line.slice(0, -1) : line)
      if (event) yield event
    }
    if (start < text.length) {
      this.#pieces.push(text.slice(start))
      this.#count(text.length - start)
    }
  }

  #decode(bytes: Uint8Array): string {
    try {
      return this.#decoder.decode(bytes, { stream: true })
    } catch (error) {
      throw protocolError('Cannot read events: they are not UTF-8', error)
    }
  }

  #count(units: number): void {
    this.#size += units
    if (this.#size > this.#maxBytes)
      throw protocolError(`Cannot read events: one is longer than ${this.#maxBytes} bytes`)
  }

  #line(line: string): ServerEvent | undefined {
    if (line === '') return this.#dispatch()
    const colon = line.indexOf(':')
    const field = colon < 0 ? line : line.slice(0, colon)
    let value = colon < 0 ? '' : line.slice(colon + 1)
    if (value.startsWith(' ')) value = value.slice(1)
    if (field === 'data') this.#data.push(value)
    else if (field === 'event') this.#name = value
    else if (field === 'id' && !value.includes('\0')) this.#id = value
    // A comment keeps the connection alive and must not add up
    else if (field === '' && this.#data.length === 0) this.#size = 0
    return undefined
  }

  #dispatch(): ServerEvent | undefined {
    const data = this.#data.join('\n')
    const found = this.#data.length > 0
    const name = this.#name || 'message'
    this.#data = []
    this.#name = ''
    this.#size = 0
    return found ? { id: this.#id, name, data } : undefined
  }
}
