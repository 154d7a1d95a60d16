/**
 * The public key inside a node id: base58btc of 0x00 0x24 0x08 0x01 0x12 0x20 and the 32 raw bytes of an Ed25519 key
 * (https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md).
 */
import { createPublicKey, type KeyObject } from 'node:crypto'

const PREFIX = '002408011220'
const ID_CHARS = 52
const ID_BYTES = 38
/** DER of a SubjectPublicKeyInfo around a raw Ed25519 key (RFC 8410) */
const SPKI = '302a300506032b6570032100'
const DIGITS = new Map(
  [...'123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'].map((char, digit) => [char, digit]),
)

/** Undefined when `id` is not a node id. */
export function publicKeyOf(id: string): KeyObject | undefined {
  const hex = id.length === ID_CHARS ? base58ToHex(id) : undefined
  if (hex === undefined || hex.length !== ID_BYTES * 2 || !hex.startsWith(PREFIX)) return undefined
  try {
    return createPublicKey({ key: Buffer.from(SPKI + hex.slice(PREFIX.length), 'hex'), format: 'der', type: 'spki' })
  } catch {
    return undefined
  }
}

function base58ToHex(text: string): string | undefined {
  let value = 0n
  for (const char of text) {
    const digit = DIGITS.get(char)
    if (digit === undefined) return undefined
    value = value * 58n + BigInt(digit)
  }
  return value.toString(16).padStart(ID_BYTES * 2, '0')
}
