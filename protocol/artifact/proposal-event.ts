/**
 * An event of a proposal: one act of its review, signed by the node it happened on.
 *
 *   payload   canonical JSON (canonical-json.ts) of the fields below
 *   envelope  DSSE (receipt/dsse.ts) over the payload, signed with the writer's node key
 *   digest    sha256 of the payload, hex; the writer's next event of this proposal calls it `previous`
 *   id        of the proposal: "p", nine characters of the time in base 36, and the first 12 hex digits of the digest of its "create"
 *
 * In the repository each writer's events of one proposal are a chain of commits of the empty tree, message the envelope as canonical JSON and a line
 * feed, at refs/proposals/<id> in the writer's namespace: they replicate, and are covered by the writer's records, like every other ref.
 * `clock` is one more than the highest this node had seen of the proposal: all nodes put the events into the same order by (clock, writer, sequence).
 */
import { createHash } from 'node:crypto'
import * as z from 'zod'
import type { ReceiptEnvelope } from '../api.ts'
import { MeshError } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import { isNodeId } from '../node-id.ts'
import { plainIssue, whatDoesNotFit } from '../plain-issue.ts'
import { openEnvelope, sealEnvelope } from '../receipt/dsse.ts'
import type { Signer } from '../signing/signing.ts'
import { canonicalJson } from './canonical-json.ts'
import { isArtifactId } from './genesis.ts'
import { isObjectId, isRefName } from './ref-name.ts'

export const PROPOSAL_TYPE = 'application/vnd.manyhands.artifact-proposal.v1+json'

/** Characters of an envelope: the text it carries, signed and in base64. */
const MAX_ENVELOPE = 2 * LIMITS.messageBytes

const oid = z.string().refine(isObjectId, 'not an object id')
const branch = z.string().refine((name) => isRefName(`refs/heads/${name}`), 'not a branch')
const label = z.string().min(1).max(128)
const name = z.string().regex(/^[a-z0-9][a-z0-9._-]{0,63}$/)
const text = z.string().max(LIMITS.messageBytes / 2)
const count = z.int().min(1)

const actSchema = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('create'),
    from: branch,
    into: branch,
    title: z.string().min(1).max(256),
    text: text.optional(),
    head: oid,
  }),
  z.strictObject({ type: z.literal('comment'), text }),
  z.strictObject({
    type: z.literal('check'),
    name,
    result: z.enum(['pass', 'fail']),
    text: text.optional(),
    head: oid,
  }),
  z.strictObject({ type: z.literal('approve'), text: text.optional(), head: oid }),
  z.strictObject({ type: z.literal('merge'), text: text.optional(), head: oid, commit: oid }),
  z.strictObject({ type: z.literal('close'), text: text.optional() }),
])
export type ProposalAct = Readonly<z.infer<typeof actSchema>>

const eventSchema = z.strictObject({
  v: z.literal(1),
  artifact: z.string().refine(isArtifactId, 'not an artifact id'),
  /** Absent in "create", from which it follows */
  proposal: z.string().optional(),
  writer: z.string().refine(isNodeId, 'not a node id'),
  /** Of this writer's events of this proposal, from 1 */
  sequence: count,
  previous: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .nullable(),
  clock: count.max(Number.MAX_SAFE_INTEGER - 1),
  /** On whose behalf: the name of the token */
  subject: label,
  agent: label.optional(),
  task: label.optional(),
  act: actSchema,
  /** Milliseconds since 1970; display only */
  at: z.int().min(0).max(8_640_000_000_000_000),
})
export type ProposalEvent = Readonly<z.infer<typeof eventSchema>>

export interface SealedEvent {
  readonly event: ProposalEvent
  /** Which proposal it belongs to */
  readonly proposal: string
  /** The envelope as it is stored: canonical JSON, no line feed */
  readonly text: string
  readonly digest: string
}

const envelopeSchema = z.strictObject({
  payloadType: z.literal(PROPOSAL_TYPE),
  payload: z.string().max(MAX_ENVELOPE),
  signatures: z.array(z.strictObject({ keyid: z.string().max(64), sig: z.string().max(100) })).length(1),
})

export function isProposalId(value: unknown): value is string {
  return typeof value === 'string' && /^p[0-9a-z]{9}[0-9a-f]{12}$/.test(value)
}

export const proposalRef = (id: string): string => `refs/proposals/${id}`

/** @throws MeshError E_BAD_REQUEST when it is not valid, with what is wrong */
export function sealEvent(signer: Signer, event: ProposalEvent): SealedEvent {
  const parsed = eventSchema.safeParse(event, { error: plainIssue })
  if (!parsed.success) throw new MeshError('E_BAD_REQUEST', `Cannot sign the event: ${whatDoesNotFit(parsed.error)}`)
  const payload = Buffer.from(canonicalJson(event))
  const envelope = sealEnvelope(signer, PROPOSAL_TYPE, payload)
  return sealed(event, canonicalJson(envelope), payload)
}

/**
 * Reads an event from a repository and checks all that can be checked of it alone.
 * @throws MeshError E_PROTOCOL malformed, E_SIGNATURE not signed by the writer it names
 */
export function openEvent(textOfIt: string): SealedEvent {
  const envelope = envelopeSchema.safeParse(jsonOf(textOfIt)).data
  if (envelope === undefined || canonicalJson(envelope) !== textOfIt)
    throw malformed('its envelope is not in the one spelling')
  const opened = openEnvelope(envelope satisfies ReceiptEnvelope)
  if (typeof opened === 'string') throw new MeshError('E_SIGNATURE', `Cannot trust the event of a proposal: ${opened}`)
  const payload = Buffer.from(opened.payload)
  const { data: event, error } = eventSchema.safeParse(jsonOf(payload.toString('utf8')))
  if (event === undefined) throw malformed(error?.issues[0]?.message ?? 'it has another form')
  if (canonicalJson(event) !== payload.toString('utf8')) throw malformed('its payload is not in the one spelling')
  if (opened.signer !== event.writer)
    throw new MeshError('E_SIGNATURE', 'Cannot trust the event of a proposal: another node signed it')
  if ((event.sequence === 1) !== (event.previous === null)) throw malformed('only the first has no previous one')
  if ((event.act.type === 'create') !== (event.proposal === undefined))
    throw malformed('it names its proposal if and only if it does not create it')
  return sealed(event, textOfIt, payload)
}

function sealed(event: ProposalEvent, textOfIt: string, payload: Uint8Array): SealedEvent {
  const digest = createHash('sha256').update(payload).digest('hex')
  const made = `p${event.at.toString(36).padStart(9, '0').slice(-9)}${digest.slice(0, 12)}`
  return { event, proposal: event.proposal ?? made, text: textOfIt, digest }
}

/**
 * The events of one writer, oldest first, as far as they are one unbroken chain of this artifact's proposal.
 * @returns what is wrong, or undefined
 */
export function chainFault(
  events: readonly SealedEvent[],
  of: { readonly artifact: string; readonly proposal: string; readonly writer: string },
): string | undefined {
  let previous: string | null = null
  for (const [index, { event, proposal, digest }] of events.entries()) {
    if (event.artifact !== of.artifact || proposal !== of.proposal) return 'an event belongs to another proposal'
    if (event.writer !== of.writer) return 'an event is of another writer'
    if (event.sequence !== index + 1 || event.previous !== previous) return 'an event does not follow the one before'
    if (event.act.type === 'create' && index > 0) return 'a proposal is created twice'
    previous = digest
  }
  return undefined
}

function jsonOf(textOfIt: string): unknown {
  try {
    return JSON.parse(textOfIt)
  } catch {
    return undefined
  }
}

function malformed(why: string): MeshError {
  return new MeshError('E_PROTOCOL', `Cannot read the event of a proposal: ${why}`)
}
