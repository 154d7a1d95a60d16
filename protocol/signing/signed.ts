/** The wire's `Signed`: a body, who signed it, and the signature. Kept as bytes wherever it is passed on, since only the exact bytes verify. */
import { createHash } from 'node:crypto'
import { manyhands } from '../../proto/gen/wire.js'
import { copyBytes, decodeBounded, malformed } from '../bounded-decode.ts'
import { MeshError } from '../errors.ts'
import { type Domain, type Signer, verifyData, withDomain } from './signing.ts'

export interface SignedBody {
  readonly body: Uint8Array
  /** Node id */
  readonly signer: string
  readonly signature: Uint8Array
}

export function signBody(signer: Signer, domain: Domain, body: Uint8Array): SignedBody {
  return { body: copyBytes(body), signer: signer.nodeId, signature: signer.sign(withDomain(domain, body)) }
}

export function isAuthentic(signed: SignedBody, domain: Domain): boolean {
  return verifyData(signed.signer, withDomain(domain, signed.body), signed.signature)
}

/** @throws MeshError E_SIGNATURE */
export function requireAuthentic(signed: SignedBody, domain: Domain): void {
  if (isAuthentic(signed, domain)) return
  throw new MeshError('E_SIGNATURE', `Cannot trust a signed ${domain.split('/')[1]}: the signature does not match`)
}

export function encodeSigned(signed: SignedBody): Uint8Array {
  return manyhands.Signed.encode(signed).finish()
}

/** Checks form only. @throws MeshError E_PROTOCOL */
export function decodeSigned(bytes: Uint8Array, maxBytes: number): SignedBody {
  return signedFromWire(decodeBounded(manyhands.Signed, bytes, { what: 'signed message', maxBytes, maxFields: 3 }))
}

/** The same for one that was decoded as part of another message. @throws MeshError E_PROTOCOL */
export function signedFromWire(wire: manyhands.Signed.$Properties | null | undefined, maxBytes = Infinity): SignedBody {
  if (!wire?.body?.length || !wire.signer || wire.signature?.length !== 64) {
    throw malformed('signed message', 'body, signer or signature is missing')
  }
  if (wire.signer.length > 64) throw malformed('signed message', 'the signer is not a node id')
  if (wire.body.length > maxBytes) {
    throw malformed('signed message', `its body has ${wire.body.length} bytes and may have ${maxBytes}`)
  }
  return { body: copyBytes(wire.body), signer: wire.signer, signature: copyBytes(wire.signature) }
}

/** sha256 over body and signer: two signatures of one body by one key count as the same document. */
export function digestOf(signed: SignedBody): Uint8Array {
  return new Uint8Array(createHash('sha256').update(signed.signer).update('\0').update(signed.body).digest())
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}
