import { randomBytes } from 'node:crypto'
import { defaultCrypto } from '@chainsafe/libp2p-noise/crypto'
import fc from 'fast-check'
import { Uint8ArrayList } from 'uint8arraylist'
import { describe, expect, test } from 'vitest'
import { noiseCrypto } from './noise-crypto.ts'

const key = randomBytes(32)
const nonce = randomBytes(12)
type Bytes = ReturnType<typeof noiseCrypto.chaCha20Poly1305Encrypt>
const flat = (bytes: Bytes): Buffer => Buffer.from(bytes.subarray())

/** The library types its lists by a copy of the package of its own. */
const isBytes = (value: object): value is Bytes => 'sublist' in value

function listOf(...parts: Uint8Array[]): Bytes {
  const list = new Uint8ArrayList(...parts)
  if (!isBytes(list)) throw new TypeError('no list')
  return list
}

/** Both sides of the size from which the native cipher is used, in one piece and in a list of pieces. */
const message = fc
  .record({ size: fc.integer({ min: 0, max: 2_000 }), cuts: fc.array(fc.nat(2_000), { maxLength: 4 }) })
  .map(({ size, cuts }) => {
    const whole = randomBytes(size)
    const at = [0, ...cuts.map((cut) => Math.min(cut, size)).sort((a, b) => a - b), size]
    return { whole, list: listOf(...at.slice(1).map((end, i) => whole.subarray(at[i], end))) }
  })
const associated = fc.uint8Array({ maxLength: 64 })

describe('ciphers of noise', () => {
  test('encrypt to the very bytes of the library, whole or in pieces', () => {
    fc.assert(
      fc.property(message, associated, ({ whole, list }, ad) => {
        const expected = flat(defaultCrypto.chaCha20Poly1305Encrypt(whole, nonce, ad, key))
        expect(flat(noiseCrypto.chaCha20Poly1305Encrypt(whole, nonce, ad, key)).equals(expected)).toBe(true)
        expect(flat(noiseCrypto.chaCha20Poly1305Encrypt(list, nonce, ad, key)).equals(expected)).toBe(true)
      }),
    )
  })

  test('decrypt what the library encrypted, whole or in pieces', () => {
    fc.assert(
      fc.property(message, associated, fc.nat(), ({ whole }, ad, cut) => {
        const sealed = flat(defaultCrypto.chaCha20Poly1305Encrypt(whole, nonce, ad, key))
        const at = cut % (sealed.length + 1)
        const pieces = listOf(sealed.subarray(0, at), sealed.subarray(at))
        expect(flat(noiseCrypto.chaCha20Poly1305Decrypt(Buffer.from(sealed), nonce, ad, key)).equals(whole)).toBe(true)
        expect(flat(noiseCrypto.chaCha20Poly1305Decrypt(pieces, nonce, ad, key)).equals(whole)).toBe(true)
      }),
    )
  })

  test('refuse a message with any bit changed, in the text, the tag or what goes with it', () => {
    fc.assert(
      fc.property(fc.integer({ min: 513, max: 1_500 }), fc.nat(), (size, bit) => {
        const ad = randomBytes(8)
        const sealed = flat(noiseCrypto.chaCha20Poly1305Encrypt(randomBytes(size), nonce, ad, key))
        const at = (bit >> 3) % sealed.length
        sealed.writeUInt8(sealed.readUInt8(at) ^ (1 << (bit & 7)), at)
        expect(() => noiseCrypto.chaCha20Poly1305Decrypt(sealed, nonce, ad, key)).toThrow()
      }),
    )
    const sealed = flat(noiseCrypto.chaCha20Poly1305Encrypt(randomBytes(900), nonce, Buffer.from('a'), key))
    expect(() => noiseCrypto.chaCha20Poly1305Decrypt(sealed, nonce, Buffer.from('b'), key)).toThrow()
  })

  test('derive the keys of the library, also from no material, as at the end of a handshake', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 32, maxLength: 32 }),
        fc.uint8Array({ maxLength: 64 }),
        (chaining, ikm) => {
          const expected = defaultCrypto.getHKDF(chaining, ikm).map((derived) => flat(derived).toString('hex'))
          expect(noiseCrypto.getHKDF(chaining, ikm).map((derived) => flat(derived).toString('hex'))).toEqual(expected)
        },
      ),
    )
  })
})
