/**
 * The member list: who belongs to a mesh, as a document signed by one of its admins.
 *
 * Validity of the document alone: it decodes within LIMITS.listBytes, re-encodes to the same bytes (an unknown field could change who is let in, so it is refused),
 * names at least one admin, no node twice, no member younger than the list, and its signature is that of its signer.
 * Whether its signer had the right to sign it depends on what the reader holds: `adopt-list.ts`.
 */
import { manyhands } from '../../proto/gen/wire.js'
import { copyBytes, decodeBounded, isPlainText, malformed } from '../bounded-decode.ts'
import { MeshError } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import { digestOf, requireAuthentic, type SignedBody, sameBytes, signBody } from '../signing/signed.ts'
import { DOMAINS, type Signer } from '../signing/signing.ts'

export type Role = 'admin' | 'member'

export interface Member {
  readonly nodeId: string
  readonly name: string
  readonly role: Role
  /** The list epoch that brought it in; later than any revocation of it */
  readonly sinceEpoch: number
}

export interface MemberList {
  readonly meshId: string
  readonly epoch: number
  /** Digest of the list it was made from; empty for the first */
  readonly previous: Uint8Array
  readonly members: readonly Member[]
  readonly revoked: readonly { readonly nodeId: string; readonly epoch: number }[]
}

/** A list together with the bytes that prove it. */
export interface SignedList {
  readonly list: MemberList
  readonly signed: SignedBody
  readonly digest: Uint8Array
}

export function signList(signer: Signer, list: MemberList): SignedList {
  const signed = signBody(signer, DOMAINS.memberList, encodeList(list))
  return { list, signed, digest: digestOf(signed) }
}

export function encodeList(list: MemberList): Uint8Array {
  return manyhands.MemberList.encode({ ...list, members: [...list.members], revoked: [...list.revoked] }).finish()
}

/** @throws MeshError E_PROTOCOL malformed, E_SIGNATURE not signed by its signer */
export function openList(signed: SignedBody): SignedList {
  requireAuthentic(signed, DOMAINS.memberList)
  const list = decodeList(signed.body)
  return { list, signed, digest: digestOf(signed) }
}

/** @throws MeshError E_PROTOCOL */
export function decodeList(bytes: Uint8Array): MemberList {
  const wire = decodeBounded(manyhands.MemberList, bytes, {
    what: 'member list',
    maxBytes: LIMITS.listBytes,
    maxFields: LIMITS.members + LIMITS.revocations + 3,
  })
  const list: MemberList = {
    meshId: wire.meshId,
    epoch: wire.epoch,
    previous: copyBytes(wire.previous),
    members: wire.members.map(memberFromWire),
    revoked: wire.revoked.map((entry) => ({ nodeId: entry.nodeId ?? '', epoch: entry.epoch ?? 0 })),
  }
  const fault = faultOf(list)
  if (fault) throw malformed('member list', fault)
  if (!sameBytes(encodeList(list), bytes)) throw malformed('member list', 'it holds fields this version does not know')
  return list
}

function memberFromWire(wire: manyhands.Member.$Properties): Member {
  const role = wire.role
  if (role !== 'admin' && role !== 'member') throw malformed('member list', 'a role is neither admin nor member')
  return { nodeId: wire.nodeId ?? '', name: wire.name ?? '', role, sinceEpoch: wire.sinceEpoch ?? 0 }
}

/** Why a list can not be valid whoever signed it; undefined when it can. */
export function faultOf(list: MemberList): string | undefined {
  if (!isMeshId(list.meshId)) return 'the mesh id is malformed'
  if (!isEpoch(list.epoch)) return 'the epoch is out of range'
  if (list.previous.length !== (list.epoch === 1 ? 0 : 32)) return 'the digest of the previous list has a wrong length'
  if (list.members.length > LIMITS.members || list.revoked.length > LIMITS.revocations) {
    return 'it has too many entries'
  }
  const seen = new Set<string>()
  for (const member of list.members) {
    if (!hasNodeIdForm(member.nodeId) || seen.has(member.nodeId)) return 'a member is no node id or is named twice'
    if (!isPlainText(member.name, LIMITS.nameBytes)) return 'a name is too long or not plain text'
    if (!isEpoch(member.sinceEpoch) || member.sinceEpoch > list.epoch) return 'a member is younger than the list'
    seen.add(member.nodeId)
  }
  if (!list.members.some((member) => member.role === 'admin')) return 'it has no admin'
  return revocationFault(list)
}

function revocationFault(list: MemberList): string | undefined {
  const revoked = new Map<string, number>()
  for (const entry of list.revoked) {
    if (!hasNodeIdForm(entry.nodeId) || revoked.has(entry.nodeId)) return 'a revocation is of no node id or comes twice'
    if (!isEpoch(entry.epoch) || entry.epoch > list.epoch) return 'a revocation is younger than the list'
    revoked.set(entry.nodeId, entry.epoch)
  }
  const clash = list.members.some((member) => (revoked.get(member.nodeId) ?? 0) >= member.sinceEpoch)
  return clash ? 'a node is both a member and revoked' : undefined
}

/** Positive and exact as a number. */
export function isEpoch(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 1
}

/** 16 random bytes, lower-case hex. */
export function isMeshId(value: string): boolean {
  return /^[0-9a-f]{32}$/.test(value)
}

/** The first list of a new mesh: its founder is its only admin. */
export function foundingList(signer: Signer, meshId: string, name: string): SignedList {
  const founder: Member = { nodeId: signer.nodeId, name, role: 'admin', sinceEpoch: 1 }
  const list: MemberList = { meshId, epoch: 1, previous: new Uint8Array(), members: [founder], revoked: [] }
  const fault = faultOf(list)
  if (fault) throw new MeshError('E_BAD_REQUEST', `Cannot found a mesh: ${fault}`)
  return signList(signer, list)
}

/**
 * Whether a text has the form of a node id. Decoding each of 10,000 ids would hold up the event loop for a fifth of a second; one that is of the right form and
 * still no key can never prove itself to anyone.
 */
function hasNodeIdForm(text: string): boolean {
  return /^12D3KooW[1-9A-HJ-NP-Za-km-z]{44}$/.test(text)
}
