/** The first request on every control stream, and the messages about lists that follow it. */
import { manyhands } from '../../proto/gen/wire.js'
import { copyBytes, decodeBounded, isPlainText, malformed } from '../bounded-decode.ts'
import { MeshError } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import { type SignedBody, signedFromWire } from '../signing/signed.ts'
import { isEpoch } from './member-list.ts'

/** Methods on the control stream. */
export const METHODS = {
  hello: 'hello',
  /** Asks for the list in force */
  list: 'list',
  /** Brings lists */
  pushList: 'list.push',
  /** Says which list the sender holds */
  noticeList: 'list.notice',
  /** Asks for a page of cards */
  cards: 'cards',
  /** Asks for the answerer's own card */
  card: 'card',
  /** Brings the sender's own card */
  pushCard: 'card.push',
} as const

export interface Hello {
  readonly meshId: string
  readonly epoch: number
  readonly digest: Uint8Array
  readonly card: SignedBody | undefined
  readonly version: string
  /** Random for each start of a process, below 2^48: two at once with one identity are an alarm */
  readonly instance: number
  /** Highest journal sequence of the sender */
  readonly journalHigh: number
  /** Highest journal sequence the sender ever heard from the receiver */
  readonly yourJournalHigh: number
}

export function encodeHello(hello: Hello): Uint8Array {
  const { digest, card, ...same } = hello
  return manyhands.Hello.encode({ ...same, listHash: digest, card: card ?? null }).finish()
}

/** @throws MeshError E_PROTOCOL malformed, E_NOT_MEMBER when it is of another mesh */
export function decodeHello(bytes: Uint8Array, meshId: string): Hello {
  const wire = decodeBounded(manyhands.Hello, bytes, {
    what: 'hello',
    maxBytes: LIMITS.cardBytes + 4096,
    maxFields: 32,
  })
  if (wire.meshId !== meshId) {
    throw new MeshError('E_NOT_MEMBER', 'Cannot talk to that node: it belongs to another mesh')
  }
  const { epoch, version, instance, journalHigh, yourJournalHigh } = wire
  const counts = [instance, journalHigh, yourJournalHigh]
  if (!isEpoch(epoch) || wire.listHash.length !== 32)
    throw malformed('hello', 'epoch or digest of the list is malformed')
  if (!counts.every((value) => Number.isSafeInteger(value) && value >= 0))
    throw malformed('hello', 'a number is out of range')
  if (!isPlainText(version, 64)) throw malformed('hello', 'the version is malformed')
  const card = wire.card ? signedFromWire(wire.card, LIMITS.cardBytes) : undefined
  return { meshId, epoch, digest: copyBytes(wire.listHash), card, version, instance, journalHigh, yourJournalHigh }
}

export function encodeListRequest(fromEpoch: number): Uint8Array {
  return manyhands.ListRequest.encode({ fromEpoch }).finish()
}

/** @throws MeshError E_PROTOCOL */
export function decodeListRequest(bytes: Uint8Array): number {
  const wire = decodeBounded(manyhands.ListRequest, bytes, { what: 'request for the list', maxBytes: 64, maxFields: 4 })
  if (!Number.isSafeInteger(wire.fromEpoch) || wire.fromEpoch < 0)
    throw malformed('request for the list', 'the epoch is malformed')
  return wire.fromEpoch
}

/** Lists in one message. */
const MAX_CHAIN = 64

export function encodeLists(list: SignedBody, chain: readonly SignedBody[]): Uint8Array {
  return manyhands.ListReply.encode({ list, chain: [...chain] }).finish()
}

/** Form only; `openList` checks each. @throws MeshError E_PROTOCOL */
export function decodeLists(bytes: Uint8Array): { list: SignedBody; chain: SignedBody[] } {
  const bounds = { what: 'member list message', maxBytes: LIMITS.listBytes, maxFields: MAX_CHAIN + 1 }
  const wire = decodeBounded(manyhands.ListReply, bytes, bounds)
  return { list: signedFromWire(wire.list), chain: wire.chain.map((item) => signedFromWire(item)) }
}

export function encodeNotice(epoch: number, digest: Uint8Array): Uint8Array {
  return manyhands.ListNotice.encode({ epoch, listHash: digest }).finish()
}

/** @throws MeshError E_PROTOCOL */
export function decodeNotice(bytes: Uint8Array): { epoch: number; digest: Uint8Array } {
  const wire = decodeBounded(manyhands.ListNotice, bytes, { what: 'notice of a list', maxBytes: 128, maxFields: 4 })
  if (!isEpoch(wire.epoch) || wire.listHash.length !== 32)
    throw malformed('notice of a list', 'epoch or digest is malformed')
  return { epoch: wire.epoch, digest: copyBytes(wire.listHash) }
}
