/**
 * What a node knows of others' cards. Pure: every function gives a new directory. Times are monotonic milliseconds of this node.
 *
 * A card counts from `receivedAt` for its `ttlMs`; a newer sequence replaces an older one; an expired card is still a place to ask. Two different cards of one node
 * with one sequence prove that the node, or someone with its key, says two things at once: both are kept as the proof and an alarm is raised once.
 */
import { sameBytes } from '../signing/signed.ts'
import type { Card, SignedCard } from './card.ts'

export interface CardEntry {
  readonly signed: SignedCard
  readonly receivedAt: number
  /** Another card with the same sequence */
  readonly conflicting: SignedCard | undefined
}

export interface Directory {
  readonly byNode: ReadonlyMap<string, CardEntry>
  readonly byLabel: ReadonlyMap<string, ReadonlySet<string>>
}

export type CardVerdict = 'new' | 'newer' | 'renewed' | 'older' | 'equivocation'

export const EMPTY_DIRECTORY: Directory = { byNode: new Map(), byLabel: new Map() }

/**
 * @param incoming opened by `openCard`, of a member of the mesh: the caller asks membership
 * @param ageMs how old it was where it came from
 */
export function withCard(directory: Directory, incoming: SignedCard, now: number, ageMs = 0): [Directory, CardVerdict] {
  const { nodeId, sequence } = incoming.card
  const entry = directory.byNode.get(nodeId)
  if (entry && sequence < entry.signed.card.sequence) return [directory, 'older']
  if (entry && sequence === entry.signed.card.sequence) return sameSequence(directory, entry, incoming)
  const next = placed(directory, { signed: incoming, receivedAt: now - ageMs, conflicting: undefined })
  return [next, entry ? 'newer' : 'new']
}

/** The same card again does not live longer: only its maker's next one shows that it is alive. */
function sameSequence(directory: Directory, entry: CardEntry, incoming: SignedCard): [Directory, CardVerdict] {
  if (sameBytes(entry.signed.digest, incoming.digest)) return [directory, 'renewed']
  if (entry.conflicting) return [directory, 'older']
  return [placed(directory, { ...entry, conflicting: incoming }), 'equivocation']
}

function placed(directory: Directory, entry: CardEntry): Directory {
  const { nodeId, labels } = entry.signed.card
  const old = directory.byNode.get(nodeId)?.signed.card.labels ?? []
  const byNode = new Map(directory.byNode).set(nodeId, entry)
  if (old.length === labels.length && old.every((label, at) => label === labels[at])) return { ...directory, byNode }
  return { byNode, byLabel: reindexed(directory.byLabel, nodeId, old, labels) }
}

function reindexed(index: Directory['byLabel'], nodeId: string, old: readonly string[], labels: readonly string[]) {
  const byLabel = new Map(index)
  for (const label of old) {
    const rest = new Set(byLabel.get(label))
    rest.delete(nodeId)
    if (rest.size > 0) byLabel.set(label, rest)
    else byLabel.delete(label)
  }
  for (const label of labels) byLabel.set(label, new Set(byLabel.get(label)).add(nodeId))
  return byLabel
}

/** Forgets a node, e.g. one that was put out. */
export function withoutNode(directory: Directory, nodeId: string): Directory {
  const entry = directory.byNode.get(nodeId)
  if (!entry) return directory
  const byNode = new Map(directory.byNode)
  byNode.delete(nodeId)
  return { byNode, byLabel: reindexed(directory.byLabel, nodeId, entry.signed.card.labels, []) }
}

export function isFresh(entry: CardEntry, now: number): boolean {
  return now - entry.receivedAt < entry.signed.card.ttlMs
}

/** Cards in force, of nodes with `label` or of all. */
export function cardsWith(directory: Directory, label: string | undefined, now: number): Card[] {
  const nodes = label === undefined ? directory.byNode.keys() : (directory.byLabel.get(label) ?? [])
  const cards: Card[] = []
  for (const nodeId of nodes) {
    const entry = directory.byNode.get(nodeId)
    if (entry && isFresh(entry, now)) cards.push(entry.signed.card)
  }
  return cards
}

/** Nodes whose card should be asked for again: at three quarters of its life while connected. Never more than `max`, the oldest first. */
export function dueForRefresh(directory: Directory, connected: readonly string[], now: number, max: number): string[] {
  const ageOf = (nodeId: string) => {
    const entry = directory.byNode.get(nodeId)
    return entry ? (now - entry.receivedAt) / entry.signed.card.ttlMs : Infinity
  }
  const due = connected.map((nodeId) => ({ nodeId, age: ageOf(nodeId) })).filter(({ age }) => age >= 0.75)
  return due
    .sort((a, b) => b.age - a.age)
    .slice(0, max)
    .map(({ nodeId }) => nodeId)
}

/** Forgets cards that nobody renewed for `graceMs` after their end. */
export function pruned(directory: Directory, now: number, graceMs: number): Directory {
  let next = directory
  for (const [nodeId, entry] of directory.byNode) {
    if (now - entry.receivedAt > entry.signed.card.ttlMs + graceMs) next = withoutNode(next, nodeId)
  }
  return next
}
