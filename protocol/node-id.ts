/**
 * A node id is the libp2p peer id of an Ed25519 key, as text: base58btc of the identity multihash of the protobuf-encoded public key.
 * Bytes: 0x00 (identity) 0x24 (36 follow) 0x08 0x01 (type = Ed25519) 0x12 0x20 (data, 32 bytes) then the raw public key.
 * See https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md
 */
import { createPrivateKey, createPublicKey } from 'node:crypto'
import { MeshError } from './errors.ts'

const PREFIX = Uint8Array.of(0x00, 0x24, 0x08, 0x01, 0x12, 0x20)
const KEY_BYTES = 32
/** DER header of a PKCS #8 Ed25519 private key (RFC 8410); the 32-byte seed follows. */
const PKCS8_HEADER = Buffer.from('302e020100300506032b657004220420', 'hex')
/** Characters of a node id: 38 bytes with one leading zero byte always take 52. */
export const NODE_ID_CHARS = 52

const ALPHABET = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'
const DIGITS = new Map([...ALPHABET].map((char, digit) => [char, BigInt(digit)]))

/** The node id of an Ed25519 public key of 32 bytes. @throws MeshError E_BAD_REQUEST */
export function nodeIdFromPublicKey(publicKey: Uint8Array): string {
  requireBytes(publicKey, 'public key')
  return encodeBase58(Uint8Array.of(...PREFIX, ...publicKey))
}

/** The node id of the key pair that grows from an Ed25519 seed of 32 bytes. @throws MeshError E_BAD_REQUEST */
export function nodeIdFromSeed(seed: Uint8Array): string {
  return nodeIdFromPublicKey(publicKeyFromSeed(seed))
}

/** The Ed25519 public key, 32 bytes, of a seed. @throws MeshError E_BAD_REQUEST */
export function publicKeyFromSeed(seed: Uint8Array): Uint8Array {
  requireBytes(seed, 'seed')
  const key = createPrivateKey({ key: Buffer.concat([PKCS8_HEADER, seed]), format: 'der', type: 'pkcs8' })
  return Uint8Array.from(createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(-KEY_BYTES))
}

/** The Ed25519 public key, 32 bytes, in a node id. @throws MeshError E_BAD_REQUEST when it is not one in its only valid spelling */
export function publicKeyFromNodeId(nodeId: string): Uint8Array {
  const bytes = nodeId.length === NODE_ID_CHARS ? decodeBase58(nodeId) : undefined
  if (bytes === undefined || !PREFIX.every((byte, index) => bytes[index] === byte)) {
    throw new MeshError('E_BAD_REQUEST', 'Reading a node id: it is not the id of an Ed25519 key')
  }
  return bytes.subarray(PREFIX.length)
}

/** Whether `value` is a node id. */
export function isNodeId(value: unknown): value is string {
  if (typeof value !== 'string') return false
  try {
    publicKeyFromNodeId(value)
    return true
  } catch {
    return false
  }
}

function requireBytes(key: Uint8Array, what: string): void {
  if (key.length === KEY_BYTES) return
  throw new MeshError('E_BAD_REQUEST', `Making a node id: the ${what} has ${key.length} bytes, ${KEY_BYTES} are needed`)
}

/** Base58 as of Bitcoin for 38 bytes that begin with exactly one zero byte. */
function encodeBase58(bytes: Uint8Array): string {
  let rest = BigInt(`0x${Buffer.from(bytes).toString('hex')}`)
  let text = ''
  for (; rest > 0n; rest /= 58n) text = ALPHABET.charAt(Number(rest % 58n)) + text
  return `1${text}`
}

/** The 38 bytes, or undefined when the text is none in base58 or of another length. */
function decodeBase58(text: string): Uint8Array | undefined {
  let value = 0n
  for (const char of text) {
    const digit = DIGITS.get(char)
    if (digit === undefined) return undefined
    value = value * 58n + digit
  }
  const hex = value.toString(16).padStart((PREFIX.length + KEY_BYTES) * 2, '0')
  return hex.length === (PREFIX.length + KEY_BYTES) * 2 ? Uint8Array.from(Buffer.from(hex, 'hex')) : undefined
}
