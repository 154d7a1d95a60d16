/** FormData (XHR 5) and its multipart form (RFC 7578, HTML 4.10.21.8). */
import { exposeInterface, needArguments } from './web-idl.ts'

type Value = string | File
type Entry = [string, Value]

export class FormData {
  #entries: Entry[] = []

  constructor(form?: unknown) {
    if (form !== undefined) throw new TypeError('FormData: there are no form elements here, so no argument is taken')
  }
  append(name: unknown, value: unknown, filename?: unknown) {
    needArguments(arguments.length, 2, 'append')
    this.#entries.push(entryOf(name, value, filename))
  }
  set(name: unknown, value: unknown, filename?: unknown) {
    needArguments(arguments.length, 2, 'set')
    const entry = entryOf(name, value, filename)
    const at = this.#entries.findIndex(([n]) => n === entry[0])
    if (at < 0) this.#entries.push(entry)
    else
      this.#entries = this.#entries.flatMap((old, index): Entry[] =>
        index === at ? [entry] : old[0] === entry[0] ? [] : [old],
      )
  }
  delete(name: unknown) {
    needArguments(arguments.length, 1, 'delete')
    this.#entries = this.#entries.filter(([n]) => n !== `${name}`)
  }
  get(name: unknown): Value | null {
    needArguments(arguments.length, 1, 'get')
    return this.#entries.find(([n]) => n === `${name}`)?.[1] ?? null
  }
  getAll(name: unknown): Value[] {
    needArguments(arguments.length, 1, 'getAll')
    return this.#entries.filter(([n]) => n === `${name}`).map(([, value]) => value)
  }
  has(name: unknown): boolean {
    needArguments(arguments.length, 1, 'has')
    return this.#entries.some(([n]) => n === `${name}`)
  }
  forEach(callback: (value: Value, name: string, form: FormData) => void, thisArg?: unknown) {
    if (typeof callback !== 'function') throw new TypeError('forEach: the argument must be a function')
    for (const [name, value] of this.entries()) callback.call(thisArg, value, name, this)
  }
  *entries(): Generator<Entry> {
    for (let i = 0; i < this.#entries.length; i++) yield [...(this.#entries[i] as Entry)]
  }
  *keys(): Generator<string> {
    for (const [name] of this.entries()) yield name
  }
  *values(): Generator<Value> {
    for (const [, value] of this.entries()) yield value
  }
  [Symbol.iterator]() {
    return this.entries()
  }
}
exposeInterface(FormData)
Object.defineProperty(FormData.prototype, Symbol.iterator, {
  value: FormData.prototype.entries,
  writable: true,
  configurable: true,
})

function entryOf(name: unknown, value: unknown, filename: unknown): Entry {
  const key = `${name}`.toWellFormed()
  if (!(value instanceof Blob)) {
    if (filename !== undefined) throw new TypeError('FormData: a file name needs a Blob')
    return [key, `${value}`.toWellFormed()]
  }
  if (value instanceof File && filename === undefined) return [key, value]
  const called = filename === undefined ? 'blob' : `${filename}`
  return [key, new File([value], called, { type: value.type })]
}

/** The body and content type of a form. */
export function encodeMultipart(form: FormData): { body: Blob; type: string } {
  const boundary = `----form${crypto.randomUUID().replaceAll('-', '')}`
  const quote = (text: string) => text.replace(/\n/g, '%0A').replace(/\r/g, '%0D').replace(/"/g, '%22')
  const lines = (text: string) => text.replace(/\r\n?|\n/g, '\r\n')
  const parts: (string | Blob)[] = []
  for (const [name, value] of form.entries()) {
    const head = `--${boundary}\r\nContent-Disposition: form-data; name="${quote(lines(name))}"`
    if (typeof value === 'string') parts.push(`${head}\r\n\r\n${lines(value)}\r\n`)
    else
      parts.push(
        `${head}; filename="${quote(value.name)}"\r\nContent-Type: ${value.type || 'application/octet-stream'}\r\n\r\n`,
        value,
        '\r\n',
      )
  }
  parts.push(`--${boundary}--\r\n`)
  return { body: new Blob(parts), type: `multipart/form-data; boundary=${boundary}` }
}

/** @throws TypeError when the bytes are not the multipart form that `type` announces */
export function decodeMultipart(bytes: Uint8Array<ArrayBuffer>, type: string): FormData {
  const found = /;\s*boundary=(?:"([^"]+)"|([^;\s]+))/i.exec(type)
  const boundary = found?.[1] ?? found?.[2]
  if (boundary === undefined) throw new TypeError('formData: the content type names no boundary')
  // One character per byte, so that positions in the text are positions in the bytes.
  const text = `\r\n${latin1(bytes)}`
  const form = new FormData()
  let at = text.indexOf(`\r\n--${boundary}`)
  for (;;) {
    if (at < 0) throw new TypeError('formData: the closing boundary is missing')
    at += boundary.length + 4
    if (text.startsWith('--', at)) return form
    const headEnd = text.indexOf('\r\n\r\n', at)
    const next = text.indexOf(`\r\n--${boundary}`, Math.max(at, headEnd + 2))
    if (headEnd < 0 || next < 0) throw new TypeError('formData: a part does not end')
    appendPart(form, text.slice(at, headEnd), bytes.slice(headEnd + 4 - 2, next - 2))
    at = next
  }
}

function appendPart(form: FormData, head: string, body: Uint8Array<ArrayBuffer>) {
  const disposition = /\r\ncontent-disposition:\s*form-data\s*;([^\r]*)/i.exec(head)?.[1]
  const name = parameter(disposition ?? '', 'name')
  if (name === undefined) throw new TypeError('formData: a part has no name')
  const filename = parameter(disposition ?? '', 'filename')
  if (filename === undefined) form.append(name, new TextDecoder().decode(body))
  else {
    const type = /\r\ncontent-type:\s*([^\r]*)/i.exec(head)?.[1]?.trim() ?? 'text/plain'
    form.append(name, new File([body], filename, { type }))
  }
}

function parameter(text: string, name: string): string | undefined {
  const raw = new RegExp(`(?:^|;)\\s*${name}="([^"]*)"`, 'i').exec(text)?.[1]
  if (raw === undefined) return undefined
  const decoded = new TextDecoder('utf-8', { ignoreBOM: true }).decode(Uint8Array.from(raw, (c) => c.charCodeAt(0)))
  return decoded.replace(/%0A/gi, '\n').replace(/%0D/gi, '\r').replace(/%22/g, '"')
}

function latin1(bytes: Uint8Array): string {
  let text = ''
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192))
  return text
}
