/** The few WebIDL rules that every interface here follows. Bundled into each library that needs it. */

/**
 * Gives a class its tag, and makes its methods and accessors enumerable, as interface members are.
 * The bundler puts an underscore before the name of a class that mentions itself; it goes away here.
 */
export function exposeInterface(type: { readonly name: string; readonly prototype: object }): void {
  const { prototype } = type
  const name = type.name.replace(/^_/, '')
  Object.defineProperty(type, 'name', { value: name, configurable: true })
  for (const key of Object.getOwnPropertyNames(prototype))
    if (key !== 'constructor') Object.defineProperty(prototype, key, { enumerable: true })
  Object.defineProperty(prototype, Symbol.toStringTag, { value: name, configurable: true })
}

/** The bytes of an ArrayBuffer or a view on one, not copied. @throws TypeError for anything else */
export function bytesOf(source: unknown, who: string): Uint8Array<ArrayBuffer> {
  if (ArrayBuffer.isView(source))
    return new Uint8Array(source.buffer as ArrayBuffer, source.byteOffset, source.byteLength)
  if (source instanceof ArrayBuffer) return new Uint8Array(source)
  throw new TypeError(
    `${who}: expected an ArrayBuffer or a view on one, found ${source === null ? 'null' : typeof source}`,
  )
}

/** A buffer that holds exactly these bytes, as the crossing copies whole buffers. */
export function exactBuffer(bytes: Uint8Array<ArrayBuffer>): ArrayBuffer {
  const { buffer, byteLength } = bytes
  return byteLength === buffer.byteLength && !buffer.resizable ? buffer : bytes.slice().buffer
}

/** An answer of the host. @throws RangeError when it said that what was sent is too long */
export function answered(answer: unknown, who: string): unknown {
  if (answer === false) throw new RangeError(`${who}: more than 16 MiB at once`)
  return answer
}

/** @throws TypeError when fewer arguments came than the method needs */
export function needArguments(found: number, wanted: number, who: string): void {
  if (found < wanted) throw new TypeError(`${who}: ${wanted} argument${wanted === 1 ? '' : 's'} needed, found ${found}`)
}

/** Shows an error that nobody can catch any more, as a host environment would. */
export function reportError(error: unknown): void {
  console.error('Uncaught', error)
}
