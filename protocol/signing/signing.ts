/**
 * Signatures of everything that is signed in the mesh: Ed25519 over domain || 0x00 || body, with the node id as name of the key.
 * A node id contains its public key, so verifying needs nothing else. The domain names the type of the body: a signature can never be used for another type.
 */
import {
  createPrivateKey,
  createPublicKey,
  sign as cryptoSign,
  verify as cryptoVerify,
  type KeyObject,
} from 'node:crypto'
import { MeshError } from '../errors.ts'
import { nodeIdFromSeed, publicKeyFromNodeId } from '../node-id.ts'

/** One for each type of signed body. */
export const DOMAINS = {
  memberList: 'manyhands/member-list/1',
  card: 'manyhands/card/1',
  join: 'manyhands/join/1',
  bid: 'manyhands/bid/1',
} as const
export type Domain = (typeof DOMAINS)[keyof typeof DOMAINS]

export interface Signer {
  readonly nodeId: string
  /** Raw Ed25519 signature, 64 bytes */
  sign(data: Uint8Array): Uint8Array
}

// DER around the raw keys (RFC 8410): a PKCS #8 private key and a SubjectPublicKeyInfo.
const PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex')
const SPKI = Buffer.from('302a300506032b6570032100', 'hex')

/** @param seed 32 bytes. @throws MeshError E_IDENTITY when it has another length */
export function signerFromSeed(seed: Uint8Array): Signer {
  if (seed.length !== 32)
    throw new MeshError('E_IDENTITY', `Cannot use a key: its seed has ${seed.length} bytes, expected 32`)
  const key = createPrivateKey({ key: Buffer.concat([PKCS8, seed]), format: 'der', type: 'pkcs8' })
  return { nodeId: nodeIdFromSeed(seed), sign: (data) => new Uint8Array(cryptoSign(null, data, key)) }
}

/** Key objects are costly to make (about 50 us) and the same few peers sign again and again. Bounded: the oldest goes first. */
const publicKeys = new Map<string, KeyObject>()
const MAX_CACHED_KEYS = 4096

function publicKey(nodeId: string): KeyObject {
  const known = publicKeys.get(nodeId)
  if (known) return known
  const der = Buffer.concat([SPKI, publicKeyFromNodeId(nodeId)])
  const key = createPublicKey({ key: der, format: 'der', type: 'spki' })
  if (publicKeys.size >= MAX_CACHED_KEYS) {
    const oldest = publicKeys.keys().next()
    if (!oldest.done) publicKeys.delete(oldest.value)
  }
  publicKeys.set(nodeId, key)
  return key
}

/** False for any wrong signature and for anything that is not a node id. Never throws. */
export function verifyData(nodeId: string, data: Uint8Array, signature: Uint8Array): boolean {
  if (signature.length !== 64) return false
  try {
    return cryptoVerify(null, data, publicKey(nodeId), signature)
  } catch {
    return false
  }
}

/** What is really signed. */
export function withDomain(domain: Domain, body: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.from(domain, 'latin1'), Buffer.of(0), body])
}
