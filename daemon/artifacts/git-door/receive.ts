/**
 * Takes a push. No child process writes the repository: commands are read and judged here, the pack goes through {@link acceptPack} into a quarantine, and what is
 * left is one transaction of the store. Until that is acknowledged nothing has moved, whatever ends in between.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { MeshError, toMeshError } from '../../../protocol/errors.ts'
import type { Attribution } from '../../../protocol/artifact/record.ts'
import type { ArtifactView } from '../store/artifact-store.ts'
import type { DoorStore } from './door-store.ts'
import { runGit } from '../store/git-process.ts'
import { acceptPack, type AcceptedPack } from './accept-pack.ts'
import { bodyChunks, isAnnouncedAbove, isAnnouncedWithin } from './body.ts'
import type { Intake, Intakes } from './intake.ts'
import { type DoorLimits, FIXED } from './limits.ts'
import { packObjects, PieceReader } from './pack-stream.ts'
import { PushAnswer } from './push-answer.ts'
import { checkKinds, planPush, type PushPlan } from './push-plan.ts'
import { type PushRequest, readPushRequest } from './push-request.ts'
import type { Slots } from './slots.ts'

export interface ReceiveParts {
  readonly store: DoorStore
  readonly intakes: Intakes
  readonly slots: Slots
  readonly limits: DoorLimits
  /** Told of failures that are ours */
  readonly onFault: (error: MeshError) => void
}

/** A push of at most so many bytes is one of a few objects, which need not be moved as a pack */
const SMALL_BYTES = 64 << 10

interface Push {
  readonly view: ArtifactView
  readonly request: PushRequest
  readonly reader: PieceReader
  readonly packBytes: number
  /** The client said so beforehand */
  readonly isSmall: boolean
  readonly by: Attribution
  readonly signal: AbortSignal
}

/** @throws MeshError when nothing of the answer was sent */
export async function serveReceive(
  parts: ReceiveParts,
  view: ArtifactView,
  by: Attribution,
  request: IncomingMessage,
  response: ServerResponse,
  signal: AbortSignal,
): Promise<void> {
  const packBytes = Math.max(1, Math.min(parts.limits.packBytes, parts.store.room(view.id)))
  const most = packBytes + FIXED.commandBytes
  if (isAnnouncedAbove(request, most)) throw tooLarge(packBytes)
  // Somewhat more is read than is taken: the client hears the answer when it has sent everything
  const reader = new PieceReader(bodyChunks(request, { ...parts.limits, bytes: most + FIXED.drainBytes }))
  const asked = await readCommands(reader)
  response.setHeader('content-type', 'application/x-git-receive-pack-result')
  if (asked === undefined || asked.commands.length === 0) return void response.end()
  const release = await parts.slots.take(signal)
  try {
    const push = { view, request: asked, reader, packBytes, isSmall: isAnnouncedWithin(request, SMALL_BYTES), signal }
    await carryOut(parts, { ...push, by: attributed(by, asked) }, response)
  } finally {
    release()
  }
}

async function readCommands(reader: PieceReader): Promise<PushRequest | undefined> {
  for (;;) {
    const found = readPushRequest(reader.held)
    if (found !== undefined) {
      reader.skip(found.end)
      return found.request
    }
    if (!(await reader.more())) {
      if (reader.held.length === 0) return undefined
      throw new MeshError('E_BAD_REQUEST', 'Cannot take the push: its commands are cut')
    }
  }
}

async function carryOut(parts: ReceiveParts, push: Push, response: ServerResponse): Promise<void> {
  const answer = new PushAnswer(response, push.request.capabilities)
  try {
    const plan = await takePush(parts, push)
    if (plan.moves.length > 0) for (const line of notices(parts.store, push.view)) answer.say(line)
    answer.finish('ok', results(push.request, plan))
  } catch (thrown) {
    const error = toMeshError(thrown)
    if (error.code === 'E_INTERNAL' || error.code === 'E_STORAGE') parts.onFault(error)
    if (!(await drained(push.reader))) {
      answer.stop()
      throw error
    }
    answer.say(error.message)
    if (error.hint !== undefined) answer.say(error.hint)
    const unpack = error.code === 'E_OBJECT' || error.code === 'E_TOO_LARGE' ? shortReason(error) : 'ok'
    answer.finish(unpack, new Map(push.request.commands.map(({ ref }) => [ref, shortReason(error)])))
  }
}

/** @throws MeshError for what concerns the push as a whole; nothing moved then */
async function takePush({ store, intakes, limits }: ReceiveParts, push: Push): Promise<PushPlan> {
  const { view, request, reader, by, signal } = push
  const isAtomic = request.capabilities.has('atomic')
  const plan = planPush(request, store.refs(view.id), `refs/heads/${view.defaultBranch}`)
  const count = await packObjects(reader)
  if (plan.moves.length === 0) {
    await drained(reader)
    return plan
  }
  if (count !== undefined && count > limits.objects)
    throw new MeshError('E_TOO_LARGE', `Cannot take the push: it holds ${count} objects, ${limits.objects} are allowed`)
  const tips = [...new Set(plan.moves.flatMap(({ new: oid }) => (oid === null ? [] : [oid])))]
  const intake = count === undefined || count === 0 ? undefined : await intakes.take(view)
  try {
    const accepted = intake === undefined ? await emptyPack(reader) : await takePack(push, intake, tips, limits)
    const kinds = await kindsOf(store, push, tips, accepted)
    const checked = checkKinds(plan, kinds, isAtomic)
    const { objects } = accepted
    const incoming = objects !== undefined ? { objects } : intake === undefined ? {} : { staging: intake.staging }
    if (checked.moves.length > 0)
      await store.transact(view.id, checked.moves, { by, signal, checked: true, ...incoming })
    return checked
  } finally {
    await intake?.end()
    await intake?.staging.discard()
  }
}

function takePack(
  { reader, isSmall, packBytes, signal }: Push,
  intake: Intake,
  tips: readonly string[],
  limits: DoorLimits,
): Promise<AcceptedPack> {
  return acceptPack({ intake, tips, chunks: reader.rest(), isSmall, packBytes, limits, signal })
}

async function emptyPack(reader: PieceReader): Promise<AcceptedPack> {
  await drained(reader)
  return { objects: [], kinds: new Map() }
}

/** Kinds of all tips. Those that did not come with the pack must be here already, with everything they need. */
async function kindsOf(
  store: DoorStore,
  { view, signal }: Push,
  tips: readonly string[],
  { kinds }: AcceptedPack,
): Promise<ReadonlyMap<string, string>> {
  const known = new Map(kinds)
  const rest = tips.filter((oid) => !known.has(oid))
  if (rest.length === 0) return known
  const repository = await store.repository(view.id)
  const args = ['cat-file', '--batch-check=%(objectname) %(objecttype)']
  const { stdout } = await runGit({ args, repository, foreign: false, signal }, `${rest.join('\n')}\n`)
  for (const line of stdout.toString('latin1').split('\n')) {
    const [oid = '', kind = ''] = line.split(' ')
    if (oid !== '') known.set(oid, kind)
  }
  const present = rest.filter((oid) => known.get(oid) !== 'missing')
  const missing = present.length === 0 ? '' : await unconnected(repository, present, signal)
  if (missing !== '') throw new MeshError('E_OBJECT', 'Cannot take the push: objects are missing that its commits need')
  return known
}

async function unconnected(repository: string, tips: readonly string[], signal: AbortSignal): Promise<string> {
  const args = ['rev-list', '--objects', '--quiet', ...tips, '--not', '--all']
  const { code, stderr } = await runGit({ args, repository, foreign: false, signal })
  return code === 0 ? '' : stderr || 'failed'
}

/** Reads what is left, within the bounds of the body. @returns whether the client has sent everything */
async function drained(reader: PieceReader): Promise<boolean> {
  const until = performance.now() + FIXED.drainMs
  try {
    for await (const chunk of reader.rest()) if (chunk.length > 0 && performance.now() > until) return false
    return true
  } catch {
    return false
  }
}

function results({ commands }: PushRequest, { refused }: PushPlan): Map<string, string | undefined> {
  return new Map(commands.map(({ ref }) => [ref, refused.get(ref)]))
}

/** A push option "reason=..." says why, in the record. */
function attributed(by: Attribution, { options }: PushRequest): Attribution {
  const reason = options.find((option) => option.startsWith('reason='))?.slice('reason='.length, 500)
  return reason === undefined || reason === '' ? by : { ...by, reason }
}

function notices(store: DoorStore, view: ArtifactView): string[] {
  if (view.mine) return []
  const isDelegate = view.settings.delegates.includes(store.writer)
  const first = `This node does not own ${view.name}: the push is kept under this node's own name and replicates from here.`
  const { threshold } = view.settings
  if (isDelegate && threshold > 1)
    return [first, `A branch is where ${threshold} of the owner and its delegates agree.`]
  const then = isDelegate
    ? 'The owner takes a fast-forward of its branches over by itself when it hears of it.'
    : "Other nodes see it in the owner's branches when the owner merges it, e.g. from a proposal."
  return [first, then]
}

/** Without the action that failed: the client says that itself. */
function shortReason({ message }: MeshError): string {
  return message.replace(/^Cannot [^:]{1,60}: /, '').slice(0, 200)
}

function tooLarge(bytes: number): MeshError {
  return new MeshError('E_TOO_LARGE', `Cannot take the push: it is larger than the ${bytes} bytes there is room for`)
}
