/**
 * A record: the signed state of one writer's refs in one artifact, and what moved them.
 *
 *   payload   canonical JSON (canonical-json.ts) of the fields below
 *   envelope  DSSE (receipt/dsse.ts) over the payload, signed with the writer's node key
 *   digest    sha256 of the payload, hex; it is what the writer's next record calls `previous`
 *
 * In the repository a record is a commit of the empty tree whose message is the envelope as canonical JSON and a line feed, whose parent is the
 * commit of the writer's previous record, and whose author and committer are always the same: so it follows from envelope and parent alone, and
 * everyone who has the envelopes makes the same commits. refs/manyhands/records/<writer> names the newest.
 *
 * Valid on its own: the form below, one spelling, signed by `writer`; sequence 1 has no `previous`, every other has; `genesis` stands in the
 * owner's first record only, hashes to `artifact` and names the writer; `settings` only from the owner, and in its first record always.
 */
import { createHash } from 'node:crypto'
import * as z from 'zod'
import { MeshError } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import { isNodeId } from '../node-id.ts'
import { openEnvelope, sealEnvelope } from '../receipt/dsse.ts'
import type { Signer } from '../signing/signing.ts'
import { canonicalJson } from './canonical-json.ts'
import { artifactId, genesisSchema, isArtifactId } from './genesis.ts'
import { isObjectId, isRefName, nameConflict, REF_LIMITS } from './ref-name.ts'
import { settingsSchema } from './settings.ts'

export const RECORD_TYPE = 'application/vnd.manyhands.artifact-record.v1+json'

const oid = z.string().refine(isObjectId, 'not an object id')
const ref = z.string().refine(isRefName, 'not a ref name')
const label = z.string().min(1).max(200)
const digest = z.string().regex(/^[0-9a-f]{64}$/)

const moveSchema = z.strictObject({ ref, old: oid.nullable(), new: oid.nullable() })

/** A ref that goes from one object to another; null: it does not exist. `old` is what the mover expected and found. */
export type RefMove = Readonly<z.infer<typeof moveSchema>>

export const attributionSchema = z.strictObject({
  agent: label.optional(),
  /** Name of the API or Git token that acted */
  subject: label.optional(),
  task: z
    .string()
    .regex(/^[\w.:-]{1,128}$/)
    .optional(),
  /** Digest or id of the grant that allowed it */
  grant: label.optional(),
  /** sha256 of the payload of the receipt of the run that did it, hex */
  receipt: digest.optional(),
  reason: z.string().min(1).max(500).optional(),
})
/** Who moved it, on whose permission, in what run. All of it is claimed by the writer, who signs. */
export type Attribution = Readonly<z.infer<typeof attributionSchema>>

export const recordSchema = z.strictObject({
  v: z.literal(1),
  artifact: z.string().refine(isArtifactId, 'not an artifact id'),
  genesis: genesisSchema.optional(),
  writer: z.string().refine(isNodeId, 'not a node id'),
  /** From 1, without gaps */
  sequence: z.int().min(1),
  previous: digest.nullable(),
  /** Lease epoch the writer worked under; 0 where no lease was */
  epoch: z.int().min(0),
  /** All refs of the writer after the moves */
  refs: z.record(ref, oid),
  moves: z.array(moveSchema).max(REF_LIMITS.perWriter),
  by: attributionSchema,
  settings: settingsSchema.optional(),
  /** Milliseconds since 1970; display only */
  at: z.int().min(0),
})
export type ArtifactRecord = Readonly<z.infer<typeof recordSchema>>

export interface RecordEnvelope {
  readonly payloadType: typeof RECORD_TYPE
  /** base64 */
  readonly payload: string
  readonly signatures: readonly { readonly keyid: string; readonly sig: string }[]
}

const envelopeSchema: z.ZodType<RecordEnvelope> = z.strictObject({
  payloadType: z.literal(RECORD_TYPE),
  payload: z.string().max(LIMITS.artifactRecordBytes),
  signatures: z.array(z.strictObject({ keyid: z.string().max(64), sig: z.string().max(100) })).length(1),
})
export interface SealedRecord {
  readonly record: ArtifactRecord
  readonly envelope: RecordEnvelope
  /** The envelope as it is stored and sent: canonical JSON, no line feed */
  readonly text: string
  /** sha256 of the payload, hex */
  readonly digest: string
}

/** @throws MeshError E_TOO_LARGE when it lists more than a record may hold, E_BAD_REQUEST when it is not valid */
export function sealRecord(signer: Signer, record: ArtifactRecord): SealedRecord {
  const fault = recordFault(record)
  if (fault !== undefined) throw new MeshError('E_BAD_REQUEST', `Cannot sign a record: ${fault}`)
  const payload = Buffer.from(canonicalJson(record))
  const envelope: RecordEnvelope = { ...sealEnvelope(signer, RECORD_TYPE, payload), payloadType: RECORD_TYPE }
  const text = canonicalJson(envelope)
  if (text.length > LIMITS.artifactRecordBytes) {
    throw new MeshError(
      'E_TOO_LARGE',
      `Cannot sign a record: it has ${text.length} bytes, at most ${LIMITS.artifactRecordBytes} are allowed`,
      { hint: 'Delete refs that are no longer needed.' },
    )
  }
  return { record, envelope, text, digest: sha256(payload) }
}

/**
 * Reads an envelope from outside and checks all that can be checked of a record on its own.
 * @throws MeshError E_PROTOCOL malformed, E_SIGNATURE not signed by the writer it names, E_TOO_LARGE
 */
export function openRecord(text: string): SealedRecord {
  if (text.length > LIMITS.artifactRecordBytes)
    throw new MeshError('E_TOO_LARGE', 'Cannot read a record: it is too long')
  const envelope = envelopeSchema.safeParse(jsonOf(text)).data
  if (envelope === undefined || canonicalJson(envelope) !== text)
    throw malformed('its envelope is not in the one spelling')
  const opened = openEnvelope(envelope)
  if (typeof opened === 'string') throw new MeshError('E_SIGNATURE', `Cannot trust a record: ${opened}`)
  const payload = Buffer.from(opened.payload)
  const { data: record, error } = recordSchema.safeParse(jsonOf(payload.toString('utf8')))
  if (record === undefined) throw malformed(error?.issues[0]?.message ?? 'it has another form')
  if (canonicalJson(record) !== payload.toString('utf8')) throw malformed('its payload is not in the one spelling')
  if (opened.signer !== record.writer)
    throw new MeshError('E_SIGNATURE', 'Cannot trust a record: another node signed it')
  const fault = recordFault(record)
  if (fault !== undefined) throw malformed(fault)
  return { record, envelope, text, digest: sha256(payload) }
}

/** What the form alone does not say. */
function recordFault(record: ArtifactRecord): string | undefined {
  const { genesis, writer, sequence, previous, refs, settings } = record
  if ((sequence === 1) !== (previous === null)) return 'only the first record has no previous one'
  if (genesis !== undefined) {
    if (sequence !== 1 || genesis.owner !== writer) return "a genesis belongs into the owner's first record"
    if (artifactId(genesis) !== record.artifact) return 'its genesis is that of another artifact'
    if (settings === undefined) return "the owner's first record has no settings"
  }
  const names = Object.keys(refs)
  if (names.length > REF_LIMITS.perWriter)
    return `it has ${names.length} refs, at most ${REF_LIMITS.perWriter} are allowed`
  const conflict = nameConflict(names)
  if (conflict !== undefined) return `the refs ${conflict[0]} and ${conflict[1]} cannot both exist`
  return record.moves.every((move) => (refs[move.ref] ?? null) === move.new)
    ? undefined
    : 'its moves do not lead to its refs'
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

function malformed(why: string): MeshError {
  return new MeshError('E_PROTOCOL', `Cannot read a record: ${why}`)
}
