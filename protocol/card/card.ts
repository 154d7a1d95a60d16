/**
 * A card: what a node offers, signed by itself and short-lived.
 *
 * `sequence` is boot count << 32 | counter, so that it grows over restarts without a write for each card. `ttlMs` counts from receipt on the receiver's monotonic
 * clock; the wall clock in it is for display. A card is a claim of its node about itself: it gives no rights.
 */
import { manyhands } from '../../proto/gen/wire.js'
import { decodeBounded, isAddressText, isPlainText, malformed } from '../bounded-decode.ts'
import { MeshError } from '../errors.ts'
import { GRADES, type Grade } from '../job.ts'
import { LIMITS } from '../limits.ts'
import { isMeshId } from '../membership/member-list.ts'
import { isNodeId } from '../node-id.ts'
import { digestOf, requireAuthentic, type SignedBody, signBody } from '../signing/signed.ts'
import { DOMAINS, type Signer } from '../signing/signing.ts'
import { type Coordinate, isCoordinate } from './vivaldi.ts'

export interface ExecutorOffer {
  readonly kind: string
  readonly grade: Grade
  /** Jobs it runs at once */
  readonly slots: number
  /** Of those, free when the card was made */
  readonly free: number
  readonly queued: number
  readonly maxMemoryBytes: number
  readonly maxWallMs: number
}

export interface Card {
  readonly nodeId: string
  readonly meshId: string
  readonly name: string
  readonly sequence: number
  readonly ttlMs: number
  /** Display only */
  readonly issuedAtMs: number
  readonly executors: readonly ExecutorOffer[]
  readonly labels: readonly string[]
  readonly coordinate: Coordinate | undefined
  readonly addresses: readonly string[]
  readonly version: string
  readonly listEpoch: number
}

export interface SignedCard {
  readonly card: Card
  readonly signed: SignedBody
  readonly digest: Uint8Array
}

/** Executors in one card. */
const MAX_EXECUTORS = 16
/** A card that lives longer than a day would outlive what it says, whatever its maker thinks. */
const MAX_TTL_MS = 24 * 60 * 60_000
/** Boot counts above this would pass 2^53. */
const MAX_BOOT = 2 ** 20

/** @param boot starts of this node so far, from 1. @param counter cards since this start, from 1 */
export function cardSequence(boot: number, counter: number): number {
  if (boot < 1 || boot >= MAX_BOOT || counter >= 2 ** 32) {
    throw new MeshError('E_IDENTITY', 'Cannot number a card: the counts of starts and cards are used up')
  }
  return boot * 2 ** 32 + counter
}

/** @throws MeshError E_BAD_REQUEST when the card breaks a limit, so that a node never sends what others would refuse */
export function signCard(signer: Signer, card: Card): SignedCard {
  const body = encodeCard(card)
  const fault = body.length > LIMITS.cardBytes ? 'it is too long' : faultOf(card)
  if (fault) throw new MeshError('E_BAD_REQUEST', `Cannot make a card: ${fault}`)
  const signed = signBody(signer, DOMAINS.card, body)
  return { card, signed, digest: digestOf(signed) }
}

export function encodeCard(card: Card): Uint8Array {
  const { executors, labels, addresses, coordinate } = card
  const wire = { ...card, executors: [...executors], labels: [...labels], addresses: [...addresses] }
  return manyhands.Card.encode({ ...wire, coordinate: coordinate ?? null }).finish()
}

/** @throws MeshError E_PROTOCOL malformed, E_SIGNATURE not signed by the node it is about */
export function openCard(signed: SignedBody): SignedCard {
  requireAuthentic(signed, DOMAINS.card)
  const card = decodeCard(signed.body)
  if (card.nodeId !== signed.signer) {
    throw new MeshError('E_SIGNATURE', 'Cannot trust a card: it is about another node than the one that signed it')
  }
  return { card, signed, digest: digestOf(signed) }
}

/** @throws MeshError E_PROTOCOL */
export function decodeCard(bytes: Uint8Array): Card {
  const wire = decodeBounded(manyhands.Card, bytes, { what: 'card', maxBytes: LIMITS.cardBytes, maxFields: 256 })
  const { nodeId, meshId, name, sequence, ttlMs, issuedAtMs, labels, addresses, version, listEpoch } = wire
  const executors = wire.executors.map(offerFromWire)
  const coordinate = coordinateFromWire(wire.coordinate)
  const text = { nodeId, meshId, name, version, labels, addresses }
  const card: Card = { ...text, sequence, ttlMs, issuedAtMs, executors, coordinate, listEpoch }
  const fault = faultOf(card)
  if (fault) throw malformed('card', fault)
  return card
}

function offerFromWire(wire: manyhands.ExecutorOffer.$Properties): ExecutorOffer {
  const grade = GRADES.find((known) => known === wire.grade)
  if (!grade) throw malformed('card', 'an executor has an unknown isolation grade')
  return {
    kind: wire.kind ?? '',
    grade,
    slots: wire.slots ?? 0,
    free: wire.free ?? 0,
    queued: wire.queued ?? 0,
    maxMemoryBytes: wire.maxMemoryBytes ?? 0,
    maxWallMs: wire.maxWallMs ?? 0,
  }
}

function coordinateFromWire(wire: manyhands.Coordinate.$Properties | null | undefined): Coordinate | undefined {
  if (!wire) return undefined
  return { x: wire.x ?? 0, y: wire.y ?? 0, height: wire.height ?? 0, error: wire.error ?? 0 }
}

function faultOf(card: Card): string | undefined {
  if (!isNodeId(card.nodeId)) return 'it names no node'
  if (!isMeshId(card.meshId)) return 'it names no mesh'
  if (!isPlainText(card.name, LIMITS.nameBytes)) return 'the name is too long or not plain text'
  if (!isPlainText(card.version, 64)) return 'the version is too long or not plain text'
  if (!isCount(card.sequence) || card.sequence < 1) return 'the sequence is out of range'
  if (!isCount(card.ttlMs) || card.ttlMs < 1_000 || card.ttlMs > MAX_TTL_MS) return 'the time to live is out of range'
  if (!isCount(card.issuedAtMs) || !isCount(card.listEpoch)) return 'a number is out of range'
  if (card.coordinate && !isCoordinate(card.coordinate)) return 'the coordinate is out of range'
  return listFault(card)
}

function listFault(card: Card): string | undefined {
  if (card.labels.length > LIMITS.labels || !card.labels.every(isLabel)) return 'the labels are too many or malformed'
  if (new Set(card.labels).size !== card.labels.length) return 'a label comes twice'
  if (card.addresses.length > LIMITS.addresses || !card.addresses.every(isAddressText)) {
    return 'the addresses are too many or malformed'
  }
  if (card.executors.length > MAX_EXECUTORS || !card.executors.every(isOffer)) return 'an executor is malformed'
  return undefined
}

function isOffer(offer: ExecutorOffer): boolean {
  const counts = [offer.slots, offer.free, offer.queued, offer.maxMemoryBytes, offer.maxWallMs]
  return isLabel(offer.kind) && counts.every(isCount) && offer.free <= offer.slots
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0
}

/** A capability label: lower-case words, with parts after a slash, e.g. "isolate", "tool/search", "model/qwen3-0.6b". At most 64 characters. */
export function isLabel(text: string): boolean {
  return text.length <= 64 && /^[a-z][a-z0-9-]*(\/[A-Za-z0-9][A-Za-z0-9._:-]*)?$/.test(text)
}
