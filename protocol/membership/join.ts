/** The one question and answer of the joining protocol, each sent as [u32 BE length][message] on a stream of its own. */
import { manyhands } from '../../proto/gen/wire.js'
import { decodeBounded, isPlainText, malformed } from '../bounded-decode.ts'
import { type ErrorCode, isErrorCode, MeshError } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import { isNodeId } from '../node-id.ts'
import { type SignedBody, signedFromWire } from '../signing/signed.ts'
import { DOMAINS, type Signer, verifyData, withDomain } from '../signing/signing.ts'

export const JOIN_PROTOCOL = '/manyhands/join/1'
export const MAX_JOIN_REQUEST_BYTES = 1 << 10

export interface JoinRequest {
  readonly nodeId: string
  readonly name: string
  readonly proof: Uint8Array
}

/** @param oneTime the peer id it is sent from: the proof is worthless on any other connection */
export function makeJoinRequest(signer: Signer, name: string, meshId: string, oneTime: string): Uint8Array {
  const proof = signer.sign(proofBody(meshId, oneTime, signer.nodeId))
  return manyhands.JoinRequest.encode({ nodeId: signer.nodeId, name, proof }).finish()
}

/** @throws MeshError E_PROTOCOL malformed, E_INVITE when it does not prove that it holds the key of the identity that wants in */
export function openJoinRequest(bytes: Uint8Array, meshId: string, oneTime: string): JoinRequest {
  const bounds = { what: 'request to join', maxBytes: MAX_JOIN_REQUEST_BYTES, maxFields: 8 }
  const { nodeId, name, proof } = decodeBounded(manyhands.JoinRequest, bytes, bounds)
  if (!isNodeId(nodeId) || !isPlainText(name, LIMITS.nameBytes) || name === '') {
    throw malformed('request to join', 'the node id or name is malformed')
  }
  if (!verifyData(nodeId, proofBody(meshId, oneTime, nodeId), proof)) {
    throw new MeshError(
      'E_INVITE',
      'Cannot join: the request does not prove that its sender holds the key of that node',
    )
  }
  return { nodeId, name, proof: Uint8Array.from(proof) }
}

function proofBody(meshId: string, oneTime: string, nodeId: string): Uint8Array {
  return withDomain(DOMAINS.join, Buffer.from(`${meshId}\0${oneTime}\0${nodeId}`))
}

export type JoinReply =
  | { readonly ok: true; readonly list: SignedBody; readonly fingerprint: Uint8Array }
  | { readonly ok: false; readonly code: ErrorCode; readonly message: string; readonly hint?: string | undefined }

export function encodeJoinReply(reply: JoinReply): Uint8Array {
  if (reply.ok) return manyhands.JoinReply.encode({ list: reply.list, fingerprint: reply.fingerprint }).finish()
  const { code, message, hint } = reply
  return manyhands.JoinReply.encode({ code, message, ...(hint === undefined ? {} : { hint }) }).finish()
}

/** @throws MeshError E_PROTOCOL */
export function decodeJoinReply(bytes: Uint8Array): JoinReply {
  const wire = decodeBounded(manyhands.JoinReply, bytes, {
    what: 'answer to joining',
    maxBytes: LIMITS.listBytes,
    maxFields: 8,
  })
  if (wire.code !== '') {
    const code = isErrorCode(wire.code) ? wire.code : 'E_PROTOCOL'
    const message = isPlainText(wire.message, 1_000) ? wire.message : 'Cannot join: refused'
    return { ok: false, code, message, hint: isPlainText(wire.hint, 1_000) && wire.hint !== '' ? wire.hint : undefined }
  }
  if (wire.fingerprint.length !== 32) throw malformed('answer to joining', 'the fingerprint is missing')
  return { ok: true, list: signedFromWire(wire.list, LIMITS.listBytes), fingerprint: Uint8Array.from(wire.fingerprint) }
}
