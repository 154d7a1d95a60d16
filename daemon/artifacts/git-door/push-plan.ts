/** What becomes of each command of a push, given the refs as they are. Pure. */
import { isObjectId } from '../../../protocol/artifact/ref-name.ts'
import { commandFault, type PushCommand, type PushRequest } from './push-request.ts'

export interface PushPlan {
  readonly moves: readonly PushCommand[]
  /** Reason by ref, for those that are not carried out */
  readonly refused: ReadonlyMap<string, string>
}

/** @param head full name of the default branch */
export function planPush(
  { commands, capabilities }: PushRequest,
  refs: ReadonlyMap<string, string>,
  head: string,
): PushPlan {
  const refused = new Map<string, string>()
  const seen = new Set<string>()
  for (const command of commands) {
    const fault = seen.has(command.ref)
      ? 'it is named twice'
      : (commandFault(command, head, command.new === null) ?? stale(command, refs))
    seen.add(command.ref)
    if (fault !== undefined) refused.set(command.ref, fault)
  }
  if (refused.size > 0 && capabilities.has('atomic')) return { moves: [], refused: withRest(commands, refused) }
  return { moves: commands.filter(({ ref }) => !refused.has(ref)), refused }
}

/** The same after the objects were looked at. @param kinds of new tips by object id, as far as they are known */
export function checkKinds(
  { moves, refused }: PushPlan,
  kinds: ReadonlyMap<string, string>,
  isAtomic: boolean,
): PushPlan {
  const wrong = new Map(refused)
  for (const { ref, new: oid } of moves) {
    const kind = oid === null ? undefined : kinds.get(oid)
    if (kind === 'missing') wrong.set(ref, 'its object is missing')
    else if (kind !== undefined && kind !== 'commit' && ref.startsWith('refs/heads/'))
      wrong.set(ref, `a branch leads to a commit, not to a ${kind}`)
  }
  if (wrong.size > 0 && isAtomic) return { moves: [], refused: withRest(moves, wrong) }
  return { moves: moves.filter(({ ref }) => !wrong.has(ref)), refused: wrong }
}

function stale({ ref, old, new: fresh }: PushCommand, refs: ReadonlyMap<string, string>): string | undefined {
  const now = refs.get(ref) ?? null
  if (old !== null && !isObjectId(old)) return 'its old value is none'
  if (now === null && fresh === null) return 'there is no such ref'
  return now === old ? undefined : 'it has moved since; fetch first'
}

function withRest(commands: readonly PushCommand[], refused: ReadonlyMap<string, string>): Map<string, string> {
  const all = new Map(refused)
  for (const { ref } of commands) if (!all.has(ref)) all.set(ref, 'atomic push failed')
  return all
}
