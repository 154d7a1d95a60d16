/** The signed events of proposals, as they stand in the repository: chains of commits of the empty tree, in each writer's namespace. */
import { chainFault, openEvent, proposalRef, type SealedEvent } from '../../../protocol/artifact/proposal-event.ts'
import { readRecordCommit } from '../records/record-commit.ts'
import type { OpenStore } from '../store/journal-store.ts'

/** Events of one writer in one proposal that are read: a longer chain is foul play, and its oldest ones stand. */
const MAX_EVENTS = 10_000

/** Ids of all proposals of an artifact, by any writer, newest first. */
export function proposalIds(store: OpenStore, artifact: string): string[] {
  const prefix = proposalRef('')
  const ids = new Set<string>()
  for (const writer of namespaces(store, artifact)) {
    for (const ref of store.refs(artifact, { as: writer }).keys())
      if (ref.startsWith(prefix)) ids.add(ref.slice(prefix.length))
  }
  return [...ids].sort().reverse()
}

/** Every event of a proposal that is signed, of this proposal and in an unbroken chain. What is not is left out: `verify` tells. */
export async function readEvents(store: OpenStore, artifact: string, proposal: string): Promise<SealedEvent[]> {
  const tips = new Set<string>()
  for (const writer of namespaces(store, artifact)) {
    const tip = store.refs(artifact, { as: writer }).get(proposalRef(proposal))
    if (tip !== undefined) tips.add(tip)
  }
  const chains = new Map<string, SealedEvent[]>()
  for (const tip of tips) {
    const chain = await readChain(store, artifact, tip)
    const writer = chain[0]?.event.writer
    if (writer === undefined || chainFault(chain, { artifact, proposal, writer }) !== undefined) continue
    if (chain.length > (chains.get(writer)?.length ?? 0)) chains.set(writer, chain)
  }
  return [...chains.values()].flat()
}

/** From the first on; empty when one of them is not an event. */
async function readChain(store: OpenStore, artifact: string, tip: string): Promise<SealedEvent[]> {
  const repository = await store.repository(artifact)
  const events: SealedEvent[] = []
  for (let commit: string | null = tip; commit !== null; ) {
    if (events.length >= MAX_EVENTS) return []
    const object = await store.reader.read(repository, commit)
    const link = object?.type === 'commit' ? readRecordCommit(object.content) : undefined
    if (link === undefined) return []
    try {
      events.push(openEvent(link.text))
    } catch {
      return []
    }
    commit = link.parent
  }
  return events.reverse()
}

/** null: the canonical refs */
function namespaces(store: OpenStore, artifact: string): (string | null)[] {
  return [null, ...store.heads(artifact).keys()]
}
