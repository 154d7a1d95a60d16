/** Random values, UUIDs and digests (Web Cryptography 10, 14), made by the host. */
import type { Realm } from '../realm.ts'
import { bytesOf, exactBuffer, exposeInterface, needArguments } from './web-idl.ts'

const MOST_RANDOM_BYTES = 65_536
const DIGESTS = ['SHA-1', 'SHA-256', 'SHA-384', 'SHA-512']

export default ({ host }: Realm) => {
  const KEY = Symbol('runtime')

  class SubtleCrypto {
    constructor(key?: unknown) {
      if (key !== KEY) throw new TypeError('Illegal constructor')
    }
    async digest(algorithm: unknown, data: unknown): Promise<ArrayBuffer> {
      needArguments(arguments.length, 2, 'digest')
      const wanted =
        typeof algorithm === 'object' && algorithm !== null && 'name' in algorithm ? algorithm.name : algorithm
      const name = DIGESTS.find((known) => known === `${wanted}`.toUpperCase())
      if (name === undefined)
        throw new DOMException(
          `digest: unknown algorithm ${wanted}; known are ${DIGESTS.join(', ')}`,
          'NotSupportedError',
        )
      const hash = host('digest', name, exactBuffer(bytesOf(data, 'digest')))
      if (!(hash instanceof ArrayBuffer)) throw new DOMException('digest: more than 16 MiB at once', 'OperationError')
      return hash
    }
  }

  class Crypto {
    readonly #subtle = new SubtleCrypto(KEY)
    constructor(key?: unknown) {
      if (key !== KEY) throw new TypeError('Illegal constructor')
    }
    get subtle() {
      return this.#subtle
    }
    getRandomValues<T>(array: T): T {
      const kind = ArrayBuffer.isView(array)
        ? (array as { [Symbol.toStringTag]?: string })[Symbol.toStringTag]
        : undefined
      if (kind === undefined || !/^(Big)?U?[Ii]nt\d+(Clamped)?Array$/.test(kind))
        throw new DOMException('getRandomValues: expected an array of integers', 'TypeMismatchError')
      const bytes = bytesOf(array, 'getRandomValues')
      if (bytes.length > MOST_RANDOM_BYTES)
        throw new DOMException(
          `getRandomValues: ${bytes.length} bytes wanted, ${MOST_RANDOM_BYTES} is the most`,
          'QuotaExceededError',
        )
      bytes.set(new Uint8Array(host('random', bytes.length) as ArrayBuffer))
      return array
    }
    randomUUID() {
      return host('uuid')
    }
  }
  exposeInterface(SubtleCrypto)
  exposeInterface(Crypto)
  return { Crypto, SubtleCrypto, crypto: new Crypto(KEY) }
}
