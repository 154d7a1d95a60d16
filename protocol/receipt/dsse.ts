/**
 * DSSE, the Dead Simple Signing Envelope, v1: https://github.com/secure-systems-lab/dsse. Signed is not the payload alone but its
 * pre-authentication encoding PAE(type, body) = "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body, lengths in decimal ASCII, counted in bytes.
 */
import type { ReceiptEnvelope } from '../api.ts'
import type { Signer } from '../signing/signing.ts'
import { verifyData } from '../signing/signing.ts'

export function preAuthEncoding(payloadType: string, payload: Uint8Array): Uint8Array {
  const type = Buffer.from(payloadType, 'utf8')
  return Buffer.concat([Buffer.from(`DSSEv1 ${type.length} `), type, Buffer.from(` ${payload.length} `), payload])
}

/** The key id is the node id, which contains the public key. */
export function sealEnvelope(signer: Signer, payloadType: string, payload: Uint8Array): ReceiptEnvelope {
  const signature = signer.sign(preAuthEncoding(payloadType, payload))
  return {
    payloadType,
    payload: Buffer.from(payload).toString('base64'),
    signatures: [{ keyid: signer.nodeId, sig: Buffer.from(signature).toString('base64') }],
  }
}

export interface OpenedEnvelope {
  readonly signer: string
  readonly payload: Uint8Array
}

/** The payload and who signed it; a string says why it cannot be trusted. */
export function openEnvelope(envelope: ReceiptEnvelope): OpenedEnvelope | string {
  const [signature, ...others] = envelope.signatures
  if (!signature || others.length > 0) return 'it must have exactly one signature'
  const payload = strictBase64(envelope.payload)
  const bytes = strictBase64(signature.sig)
  if (!payload || !bytes) return 'payload or signature is not base64'
  const signed = preAuthEncoding(envelope.payloadType, payload)
  if (!verifyData(signature.keyid, signed, bytes)) return 'the signature does not match'
  return { signer: signature.keyid, payload }
}

/** Undefined unless the text is the one spelling of its bytes: standard alphabet, padded. */
function strictBase64(text: string): Uint8Array | undefined {
  const bytes = Buffer.from(text, 'base64')
  return bytes.toString('base64') === text ? new Uint8Array(bytes) : undefined
}
