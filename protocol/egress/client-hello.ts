/**
 * Reads the server name out of the first message of a TLS connection (RFC 8446 section 4.1.2, RFC 6066 section 3), however it is cut into records. Bytes come from
 * untrusted code: each length is checked against what is there.
 */
import { EGRESS_LIMITS } from './limits.ts'

export type ClientHello =
  /** More bytes are needed */
  | { readonly kind: 'more' }
  | { readonly kind: 'not-tls' }
  /** `serverName` is undefined when the client names none */
  | { readonly kind: 'hello'; readonly serverName: string | undefined }

const RECORD_HANDSHAKE = 22
const CLIENT_HELLO = 1
const EXTENSION_SERVER_NAME = 0
const NAME_DNS = 0
const RECORD_BYTES = 16_384

const MORE: ClientHello = { kind: 'more' }
const NOT_TLS: ClientHello = { kind: 'not-tls' }

export function parseClientHello(bytes: Uint8Array): ClientHello {
  const message = handshakeMessage(bytes)
  if (!(message instanceof Uint8Array)) return message
  try {
    return { kind: 'hello', serverName: serverNameOf(new Reader(message)) }
  } catch (error) {
    if (error instanceof CutOff) return NOT_TLS
    throw error
  }
}

/** The body of the first handshake message, put together from its records. */
function handshakeMessage(bytes: Uint8Array): Uint8Array | ClientHello {
  const parts: Uint8Array[] = []
  let have = 0
  for (let at = 0; ; ) {
    const early = bytes[at]
    if (early !== undefined && early !== RECORD_HANDSHAKE) return NOT_TLS
    if (bytes.length < at + 5) return MORE
    const length = ((bytes[at + 3] ?? 0) << 8) | (bytes[at + 4] ?? 0)
    if (bytes[at + 1] !== 3 || length === 0 || length > RECORD_BYTES) return NOT_TLS
    const part = bytes.subarray(at + 5, at + 5 + length)
    parts.push(part)
    have += part.length
    const all = have >= 4 ? joined(parts) : undefined
    if (all !== undefined) {
      const wanted = 4 + (((all[1] ?? 0) << 16) | ((all[2] ?? 0) << 8) | (all[3] ?? 0))
      if (all[0] !== CLIENT_HELLO || wanted > EGRESS_LIMITS.clientHelloBytes) return NOT_TLS
      if (have >= wanted) return all.subarray(4, wanted)
    }
    if (part.length < length) return MORE
    at += 5 + length
  }
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const [only] = parts
  return parts.length === 1 && only !== undefined ? only : new Uint8Array(Buffer.concat(parts))
}

function serverNameOf(hello: Reader): string | undefined {
  hello.take(2 + 32)
  hello.take(hello.number(1))
  hello.take(hello.number(2))
  hello.take(hello.number(1))
  if (hello.left === 0) return undefined
  const extensions = hello.part(2)
  let name: string | undefined
  let seen = false
  while (extensions.left > 0) {
    const type = extensions.number(2)
    const body = extensions.part(2)
    if (type !== EXTENSION_SERVER_NAME) continue
    if (seen) throw new CutOff()
    seen = true
    const names = body.part(2)
    while (names.left > 0) {
      const kind = names.number(1)
      const text = Buffer.from(names.take(names.number(2))).toString('latin1')
      if (kind === NAME_DNS) {
        if (name !== undefined) throw new CutOff()
        name = text
      }
    }
  }
  return name
}

class CutOff extends Error {}

class Reader {
  readonly #bytes: Uint8Array
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  get left(): number {
    return this.#bytes.length - this.#at
  }

  take(count: number): Uint8Array {
    if (count > this.left) throw new CutOff()
    this.#at += count
    return this.#bytes.subarray(this.#at - count, this.#at)
  }

  number(bytes: number): number {
    return this.take(bytes).reduce((value, byte) => value * 256 + byte, 0)
  }

  /** What follows, with its length of so many bytes before it. */
  part(lengthBytes: number): Reader {
    return new Reader(this.take(this.number(lengthBytes)))
  }
}
