/**
 * Asking a peer for the cards it knows, in pages of bounded size in order of node id, so that a node that joins late learns every provider from whoever it meets.
 * The answers are hints: each card proves itself, membership decides whether it counts, and a page may leave out or invent nothing but that.
 */
import { manyhands } from '../../proto/gen/wire.js'
import { decodeBounded, malformed } from '../bounded-decode.ts'
import { LIMITS } from '../limits.ts'
import { isNodeId } from '../node-id.ts'
import { type SignedBody, signedFromWire } from '../signing/signed.ts'
import { isLabel } from './card.ts'
import { type Directory, isFresh } from './directory.ts'

export interface CardsQuery {
  readonly label: string | undefined
  readonly max: number
  /** Node id after which the page starts */
  readonly after: string | undefined
}

export interface PagedCard {
  readonly signed: SignedBody
  /** How old it was where it came from, milliseconds: passing a card on must not lengthen its life */
  readonly ageMs: number
}

export interface CardsPage {
  readonly cards: readonly PagedCard[]
  readonly next: string | undefined
}

/** Cards in one page. */
export const PAGE_CARDS = 128
/** Bytes of one page: two fit a frame with room to spare. */
const PAGE_BYTES = LIMITS.frameBytes / 2

export function encodeCardsQuery(query: CardsQuery): Uint8Array {
  return manyhands.CardsRequest.encode({ label: query.label ?? '', max: query.max, after: query.after ?? '' }).finish()
}

/** @throws MeshError E_PROTOCOL */
export function decodeCardsQuery(bytes: Uint8Array): CardsQuery {
  const wire = decodeBounded(manyhands.CardsRequest, bytes, { what: 'request for cards', maxBytes: 256, maxFields: 8 })
  if (wire.label !== '' && !isLabel(wire.label)) throw malformed('request for cards', 'the label is malformed')
  if (wire.after !== '' && !isNodeId(wire.after)) throw malformed('request for cards', 'its start is no node id')
  const max = wire.max === 0 ? PAGE_CARDS : Math.min(wire.max, PAGE_CARDS)
  return { label: wire.label || undefined, max, after: wire.after || undefined }
}

/** The cards in force that answer a query, of nodes that `isMember`. */
export function pageOf(
  directory: Directory,
  query: CardsQuery,
  isMember: (nodeId: string) => boolean,
  now: number,
): CardsPage {
  const nodes = query.label === undefined ? directory.byNode.keys() : (directory.byLabel.get(query.label) ?? [])
  const later = [...nodes].filter((nodeId) => nodeId > (query.after ?? '')).sort()
  const cards: PagedCard[] = []
  let bytes = 0
  let last: string | undefined
  for (const nodeId of later) {
    const entry = directory.byNode.get(nodeId)
    if (!entry || !isFresh(entry, now) || !isMember(nodeId)) continue
    bytes += entry.signed.signed.body.length + 160
    if (cards.length === query.max || bytes > PAGE_BYTES) return { cards, next: last }
    cards.push({ signed: entry.signed.signed, ageMs: Math.round(now - entry.receivedAt) })
    last = nodeId
  }
  return { cards, next: undefined }
}

export function encodeCardsPage(page: CardsPage): Uint8Array {
  const cards = page.cards.map(({ signed }) => signed)
  return manyhands.CardsReply.encode({
    cards,
    next: page.next ?? '',
    agesMs: page.cards.map(({ ageMs }) => ageMs),
  }).finish()
}

/** Checks form only; each card is opened by `openCard`. @throws MeshError E_PROTOCOL */
export function decodeCardsPage(bytes: Uint8Array): CardsPage {
  const bounds = { what: 'page of cards', maxBytes: LIMITS.frameBytes, maxFields: 2 * PAGE_CARDS + 1 }
  const wire = decodeBounded(manyhands.CardsReply, bytes, bounds)
  if (wire.next !== '' && !isNodeId(wire.next)) throw malformed('page of cards', 'its end is no node id')
  if (wire.cards.length > PAGE_CARDS || wire.agesMs.length !== wire.cards.length) {
    throw malformed('page of cards', 'it has too many cards, or not an age for each')
  }
  const cards = wire.cards.map((card, at) => ({
    signed: signedFromWire(card, LIMITS.cardBytes),
    ageMs: wire.agesMs[at] ?? 0,
  }))
  return { cards, next: wire.next || undefined }
}
