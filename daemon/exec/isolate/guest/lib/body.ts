/** The body of requests and responses (Fetch 5.2): bytes while it can, a stream when a program gave or asked for one. */
import { decodeMultipart, encodeMultipart, FormData } from './form-data.ts'
import type { Headers } from './headers.ts'
import { bytesOf } from './web-idl.ts'

type Bytes = Uint8Array<ArrayBuffer>
export type Content = { readonly bytes: Bytes } | { readonly stream: ReadableStream<unknown> } | undefined

/** What `extract` makes of a body a program gave: the content, and the content type it implies. */
export interface Extracted {
  readonly content: Content
  readonly type?: string
}

export function extract(body: unknown): Extracted {
  if (body === undefined || body === null) return { content: undefined }
  if (body instanceof URLSearchParams)
    return { content: text(body.toString()), type: 'application/x-www-form-urlencoded;charset=UTF-8' }
  if (body instanceof ArrayBuffer || ArrayBuffer.isView(body))
    return { content: { bytes: bytesOf(body, 'body').slice() } }
  if (body instanceof FormData) {
    const { body: blob, type } = encodeMultipart(body)
    return { content: { stream: blob.stream() }, type }
  }
  if (body instanceof Blob)
    return { content: { stream: body.stream() }, ...(body.type === '' ? {} : { type: body.type }) }
  if (body instanceof ReadableStream) {
    if (body.locked) throw new TypeError('The stream given as body is locked')
    return { content: { stream: body } }
  }
  return { content: text(`${body}`), type: 'text/plain;charset=UTF-8' }
}

function text(value: string): Content {
  return { bytes: new TextEncoder().encode(value) as Bytes }
}

/** The content for a second owner; both can be read afterwards. */
export let split: (body: Body) => Content
/** The content for a request made of this one, which is used up by that. */
export let take: (body: Body) => Content

export abstract class Body {
  static {
    split = (body) => body.#split()
    take = (body) => body.#take()
  }

  #content: Content
  #used = false
  /** The stream of a body of bytes, made when somebody looks at it. */
  #stream: ReadableStream<unknown> | undefined

  abstract get headers(): Headers

  constructor(content: Content) {
    this.#content = content
  }

  get body(): ReadableStream<unknown> | null {
    if (this.#content === undefined) return null
    if ('stream' in this.#content) return this.#content.stream
    if (this.#stream === undefined) {
      this.#stream = new Blob([this.#content.bytes]).stream()
      if (this.#used) void this.#stream.cancel()
    }
    return this.#stream
  }
  get bodyUsed(): boolean {
    if (this.#used) return true
    const stream =
      this.#stream ?? (this.#content !== undefined && 'stream' in this.#content ? this.#content.stream : undefined)
    return stream !== undefined && wasRead(stream)
  }
  async arrayBuffer(): Promise<ArrayBuffer> {
    return (await this.#consume()).buffer
  }
  async bytes(): Promise<Uint8Array> {
    return this.#consume()
  }
  async text(): Promise<string> {
    return new TextDecoder().decode(await this.#consume())
  }
  async json(): Promise<unknown> {
    return JSON.parse(await this.text())
  }
  async blob(): Promise<Blob> {
    const bytes = await this.#consume()
    return new Blob([bytes], { type: this.headers.get('content-type') ?? '' })
  }
  async formData(): Promise<FormData> {
    const type = this.headers.get('content-type') ?? ''
    const bytes = await this.#consume()
    if (/^multipart\/form-data\b/i.test(type)) return decodeMultipart(bytes, type)
    if (!/^application\/x-www-form-urlencoded\b/i.test(type))
      throw new TypeError(`formData: the content type is "${type}", not that of a form`)
    const form = new FormData()
    for (const [name, value] of new URLSearchParams(new TextDecoder().decode(bytes))) form.append(name, value)
    return form
  }

  #split(): Content {
    if (this.bodyUsed || this.body?.locked) throw new TypeError('The body was used already, so it cannot be cloned')
    if (this.#content === undefined) return undefined
    if ('bytes' in this.#content && this.#stream === undefined) return { bytes: this.#content.bytes.slice() }
    const [mine, theirs] = (this.body as ReadableStream<unknown>).tee()
    this.#content = { stream: mine }
    this.#stream = undefined
    return { stream: theirs }
  }
  #take(): Content {
    if (this.bodyUsed || (this.#content !== undefined && this.#touched() && this.body?.locked))
      throw new TypeError('The body was used already')
    const content: Content = this.#stream === undefined ? this.#content : { stream: this.#stream }
    if (content !== undefined) this.#used = true
    this.#content = undefined
    this.#stream = undefined
    return content
  }
  #touched(): boolean {
    return this.#stream !== undefined || (this.#content !== undefined && 'stream' in this.#content)
  }
  async #consume(): Promise<Bytes> {
    if (this.bodyUsed || (this.#touched() && this.body?.locked)) throw new TypeError('The body was used already')
    const content = this.#content
    if (content === undefined) return new Uint8Array(0)
    this.#used = true
    if ('bytes' in content && this.#stream === undefined) return content.bytes
    return readAll(this.#stream ?? (content as { stream: ReadableStream<unknown> }).stream)
  }
}

/** Whether anything was read from it. Streams do not tell; the library that implements them here notes it in this field. */
function wasRead(stream: ReadableStream<unknown>): boolean {
  return (stream as { _disturbed?: unknown })._disturbed === true
}

async function readAll(stream: ReadableStream<unknown>): Promise<Bytes> {
  const reader = stream.getReader()
  const chunks: Uint8Array[] = []
  let size = 0
  for (;;) {
    const { done, value } = await reader.read()
    if (done) break
    if (!(value instanceof Uint8Array)) {
      const error = new TypeError('A chunk of the body is not a Uint8Array')
      await reader.cancel(error)
      throw error
    }
    chunks.push(value)
    size += value.length
  }
  const whole = new Uint8Array(size)
  let at = 0
  for (const chunk of chunks) {
    whole.set(chunk, at)
    at += chunk.length
  }
  return whole
}
