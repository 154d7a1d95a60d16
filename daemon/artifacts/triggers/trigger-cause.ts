/** What a moved ref is to triggers: a push to a branch, or, by the signed event that the ref of a proposal was moved to, that one was made or merged. */
import type { TriggerOn } from '../../../protocol/api.ts'
import type { RefMove } from '../../../protocol/artifact/record.ts'
import { isProposalId, openEvent, type ProposalEvent, proposalRef } from '../../../protocol/artifact/proposal-event.ts'
import { readRecordCommit } from '../records/record-commit.ts'
import { readEvents } from '../review/event-chain.ts'
import type { OpenStore } from '../store/journal-store.ts'

export interface TriggerCause {
  readonly on: TriggerOn
  /** Pushed to, or merged into */
  readonly branch: string
  /** The commit whose files it is about; null when the branch was removed */
  readonly rev: string | null
  /** For the program, beside artifact and name */
  readonly input: Readonly<Record<string, string | null>>
}

const BRANCHES = 'refs/heads/'

/** Whether a move can start anything. */
export function mayTrigger({ ref }: RefMove): boolean {
  return ref.startsWith(BRANCHES) || ref.startsWith(proposalRef(''))
}

/** @param writer whose record made the move @returns undefined for what starts nothing */
export async function causeOf(
  store: OpenStore,
  artifact: string,
  writer: string,
  move: RefMove,
): Promise<TriggerCause | undefined> {
  const { ref, old } = move
  if (ref.startsWith(BRANCHES)) {
    const input = { on: 'push', ref, old, new: move.new }
    return { on: 'push', branch: ref.slice(BRANCHES.length), rev: move.new, input }
  }
  const id = ref.slice(proposalRef('').length)
  const event = move.new === null || !isProposalId(id) ? undefined : await eventAt(store, artifact, move.new)
  // A move of somebody else's event says nothing new
  if (event?.writer !== writer || event.artifact !== artifact) return undefined
  const { act } = event
  if (act.type !== 'create' && act.type !== 'merge') return undefined
  const made = act.type === 'create' ? act : await creationOf(store, artifact, id)
  if (made === undefined) return undefined
  const { from, into, title } = made
  const facts = { proposal: id, from, into, title, head: act.head }
  if (act.type === 'create') return { on: 'proposal', branch: into, rev: act.head, input: { on: 'proposal', ...facts } }
  const { owner, settings } = store.require(artifact)
  if (writer !== owner && !settings.delegates.includes(writer)) return undefined
  return { on: 'merge', branch: into, rev: act.commit, input: { on: 'merge', ...facts, commit: act.commit } }
}

async function eventAt(store: OpenStore, artifact: string, commit: string): Promise<ProposalEvent | undefined> {
  const object = await store.object(artifact, commit)
  const link = object?.type === 'commit' ? readRecordCommit(object.content) : undefined
  try {
    return link && openEvent(link.text).event
  } catch {
    return undefined
  }
}

async function creationOf(store: OpenStore, artifact: string, id: string) {
  for (const { event } of await readEvents(store, artifact, id)) if (event.act.type === 'create') return event.act
  return undefined
}
