/**
 * Invites. As text: "mh1" then base64url of (the wire's Invite || first 4 bytes of its sha256), so that a cut or mistyped invite is told from a refused one.
 *
 * The secret is the seed of a one-time Ed25519 key. The joiner dials with that key, so the inviter's gate can admit exactly the ids of its open invites before any
 * byte of a protocol is read, and such an id may use the joining protocol only. Over it the joiner proves that it holds its real key. Whoever holds the text can
 * join once: it is a password.
 */
import { createHash } from 'node:crypto'
import { manyhands } from '../../proto/gen/wire.js'
import { copyBytes, decodeBounded, isAddressText, isPlainText } from '../bounded-decode.ts'
import { MeshError } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import { isNodeId, nodeIdFromSeed } from '../node-id.ts'
import { isEpoch, isMeshId, type Role } from './member-list.ts'

export interface Invite {
  readonly meshId: string
  readonly meshName: string
  /** Node id */
  readonly inviter: string
  readonly addresses: readonly string[]
  /** 32 bytes */
  readonly secret: Uint8Array
  /** 32 bytes: the mesh's pre-shared key */
  readonly networkKey: Uint8Array
  /** Wall clock of the inviter */
  readonly expiresAtMs: number
  readonly role: Role
}

const PREFIX = 'mh1'
const CHECKSUM_BYTES = 4
/** 16 addresses of 256 bytes and the rest. */
const MAX_INVITE_BYTES = 8 << 10
/** How far two wall clocks may be apart: an invite is good for that much longer than it says. */
export const CLOCK_TOLERANCE_MS = 60_000

export function formatInvite(invite: Invite): string {
  const bytes = manyhands.Invite.encode({ ...invite, addresses: [...invite.addresses] }).finish()
  return PREFIX + Buffer.concat([bytes, checksum(bytes)]).toString('base64url')
}

/** Reads an invite; white space around or inside it does not matter. @throws MeshError E_INVITE */
export function parseInvite(text: string): Invite {
  const compact = text.replace(/\s+/g, '')
  if (!compact.startsWith(PREFIX)) throw malformedInvite(`it does not begin with ${PREFIX}`)
  if (compact.length > MAX_INVITE_BYTES * 2) throw malformedInvite('it is too long')
  const all = Buffer.from(compact.slice(PREFIX.length), 'base64url')
  const bytes = all.subarray(0, Math.max(0, all.length - CHECKSUM_BYTES))
  if (
    all.toString('base64url') !== compact.slice(PREFIX.length) ||
    !checksum(bytes).equals(all.subarray(bytes.length))
  ) {
    throw malformedInvite('it is cut off or mistyped')
  }
  return checked(decodeInvite(bytes))
}

function decodeInvite(bytes: Uint8Array): manyhands.Invite {
  try {
    return decodeBounded(manyhands.Invite, bytes, { what: 'invite', maxBytes: MAX_INVITE_BYTES, maxFields: 64 })
  } catch {
    throw malformedInvite('it does not parse')
  }
}

function checked(wire: manyhands.Invite): Invite {
  const { meshId, meshName, inviter, addresses, expiresAtMs, role } = wire
  if (role !== 'admin' && role !== 'member') throw malformedInvite('its role is unknown')
  const isSound =
    isMeshId(meshId) &&
    isPlainText(meshName, LIMITS.nameBytes) &&
    isNodeId(inviter) &&
    addresses.length <= LIMITS.addresses &&
    addresses.every(isAddressText) &&
    wire.secret.length === 32 &&
    wire.networkKey.length === 32 &&
    isEpoch(expiresAtMs)
  if (!isSound) throw malformedInvite('a part of it is out of range')
  const keys = { secret: copyBytes(wire.secret), networkKey: copyBytes(wire.networkKey) }
  return { meshId, meshName, inviter, addresses, expiresAtMs, role, ...keys }
}

function checksum(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest().subarray(0, CHECKSUM_BYTES)
}

function malformedInvite(why: string): MeshError {
  return new MeshError('E_INVITE', `Cannot read the invite: ${why}`, {
    hint: 'Copy the whole invite, or make a new one with `manyhands invite` on an admin node.',
  })
}

/** The node id the joiner dials with. */
export function oneTimeId(invite: Pick<Invite, 'secret'>): string {
  return nodeIdFromSeed(invite.secret)
}

/** @param wallMs wall clock, milliseconds */
export function isExpired(expiresAtMs: number, wallMs: number): boolean {
  return wallMs > expiresAtMs + CLOCK_TOLERANCE_MS
}

/**
 * What people on both sides compare: 4 groups of 5 digits (66 bits) from the mesh and two ids in any order. With the one-time id it names an invite, with the node
 * id of who joined it names the pair.
 */
export function fingerprint(meshId: string, one: string, other: string): string {
  return fingerprintText(fingerprintBytes(meshId, one, other))
}

export function fingerprintBytes(meshId: string, one: string, other: string): Uint8Array {
  const ids = [one, other].sort().join('\0')
  return createHash('sha256').update(`manyhands/fingerprint/1\0${meshId}\0${ids}`).digest()
}

export function fingerprintText(bytes: Uint8Array): string {
  const groups = [0, 4, 8, 12].map((at) => Buffer.from(bytes).readUInt32BE(at) % 100_000)
  return groups.map((group) => String(group).padStart(5, '0')).join(' ')
}
