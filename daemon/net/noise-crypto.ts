import { createCipheriv, createDecipheriv, createSecretKey, hkdfSync, type KeyObject } from 'node:crypto'
import type { ICryptoInterface } from '@chainsafe/libp2p-noise'
import { defaultCrypto } from '@chainsafe/libp2p-noise/crypto'

const CIPHER = 'chacha20-poly1305'
const TAG_BYTES = 16
const KEY_BYTES = 32
const EMPTY = new Uint8Array()
const OPTIONS = { authTagLength: TAG_BYTES }
/** As the library has them: one piece or a list. */
type Bytes = ReturnType<ICryptoInterface['chaCha20Poly1305Encrypt']>
/** Below this the library's WebAssembly is faster than setting up a native cipher. */
const NATIVE_BYTES = 512

/**
 * The ciphers of noise for messages that are worth a native one. The library's own hand the raw key to every cipher, and importing it costs as much as
 * encrypting 30 KiB; here it is imported once. Keys are derived natively too: in JavaScript that is a good part of a first handshake. Everything else is the library's.
 * Same algorithm (RFC 8439), so both ends may differ in this.
 */
export const noiseCrypto: ICryptoInterface = {
  ...defaultCrypto,
  chaCha20Poly1305Encrypt: (plaintext, nonce, ad, key) =>
    plaintext.byteLength < NATIVE_BYTES
      ? defaultCrypto.chaCha20Poly1305Encrypt(plaintext, nonce, ad, key)
      : encrypt(plaintext, nonce, ad, key),
  chaCha20Poly1305Decrypt: (ciphertext, nonce, ad, key, dst) =>
    ciphertext.byteLength < NATIVE_BYTES
      ? defaultCrypto.chaCha20Poly1305Decrypt(ciphertext, nonce, ad, key, dst)
      : decrypt(ciphertext, nonce, ad, key),
  getHKDF: deriveKeys,
}

/** HKDF (RFC 5869) with SHA-256 to the three keys that noise (revision 34, section 4.3) asks for at most. */
function deriveKeys(chainingKey: Uint8Array, material: Uint8Array): [Uint8Array, Uint8Array, Uint8Array] {
  const keys = new Uint8Array(hkdfSync('sha256', material, chainingKey, EMPTY, 3 * KEY_BYTES))
  return [keys.subarray(0, KEY_BYTES), keys.subarray(KEY_BYTES, 2 * KEY_BYTES), keys.subarray(2 * KEY_BYTES)]
}

/** Keys by the array that holds them: a connection keeps one for each direction, never changes it, and drops it with itself. */
const imported = new WeakMap<Uint8Array, KeyObject>()

function keyObject(key: Uint8Array): KeyObject {
  let object = imported.get(key)
  if (object === undefined) {
    object = createSecretKey(key)
    imported.set(key, object)
  }
  return object
}

function encrypt(plaintext: Bytes, nonce: Uint8Array, ad: Uint8Array, key: Uint8Array): Bytes {
  const cipher = createCipheriv(CIPHER, keyObject(key), nonce, OPTIONS)
  if (ad.length > 0) cipher.setAAD(ad, { plaintextLength: plaintext.byteLength })
  // of a stream cipher `final` has nothing left to give
  if (plaintext instanceof Uint8Array)
    return Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()])
  const output = plaintext.sublist(0, 0)
  for (const part of plaintext) output.append(cipher.update(part))
  cipher.final()
  output.append(cipher.getAuthTag())
  return output
}

/** @throws when the tag is wrong; nothing of the plaintext gets out then */
function decrypt(ciphertext: Bytes, nonce: Uint8Array, ad: Uint8Array, key: Uint8Array): Bytes {
  const end = ciphertext.byteLength - TAG_BYTES
  const decipher = createDecipheriv(CIPHER, keyObject(key), nonce, OPTIONS)
  if (ad.length > 0) decipher.setAAD(ad, { plaintextLength: end })
  decipher.setAuthTag(ciphertext.subarray(end))
  if (ciphertext instanceof Uint8Array) {
    const output = decipher.update(ciphertext.subarray(0, end))
    // throws when the tag is wrong; has nothing left to give
    decipher.final()
    return output
  }
  const output = ciphertext.sublist(0, 0)
  for (const part of ciphertext.sublist(0, end)) output.append(decipher.update(part))
  decipher.final()
  return output
}
