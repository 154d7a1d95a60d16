/**
 * What nodes say to each other about artifacts, as JSON on the control stream, and the heads of the byte stream that carries a fetch.
 *
 *   artifact.holding   {holdings: [text]}                       -> {unknown: [index]}    "this is what I hold": announces and acknowledges
 *   artifact.check     {items: [[id, headsDigest]]}             -> {differ: [text], absent: [index]}   which of these do you hold otherwise, or not?
 *   artifact.find      {artifact}                               -> {holding: text, holders: [node]}   or E_NOT_FOUND, also when the asker may not know of it
 *   artifact.hold      {artifact}                               -> {}                    please take a copy, from me to begin with; or a typed refusal
 *   artifact.release   {artifact}                               -> {}                    give your copy up; refused when that would lose something
 *
 * The stream /manyhands/git/1, all in pkt-lines:
 *
 *   asks:     one packet of JSON {v: 1, artifact, have: {<writer>: sequence}}, flush
 *   answers:  "ERR <code>", and ends; or the records the asker lacks, writers one after the other, each oldest first: packets of one envelope, delim; at last flush
 *   then      Git's protocol version 2, spoken by `git upload-pack` on the answering side
 */
import * as z from 'zod'
import { MeshError } from '../errors.ts'
import { parseJsonText } from '../json-text.ts'
import { isNodeId } from '../node-id.ts'
import { isArtifactId } from './genesis.ts'
import { HEADS_DIGEST_CHARS } from './heads.ts'

export const GIT_STREAM = '/manyhands/git/1'
export const ARTIFACT_METHODS = {
  holding: 'artifact.holding',
  check: 'artifact.check',
  find: 'artifact.find',
  hold: 'artifact.hold',
  release: 'artifact.release',
} as const

/** Artifacts compared by one request: about 60 KB. */
export const CHECK_ITEMS = 1_000
/** Holdings in one message; more follow in the next. */
export const HOLDINGS_PER_MESSAGE = 64

const artifact = z.string().refine(isArtifactId, 'not an artifact id')

export const holdingsMessage = z.strictObject({ holdings: z.array(z.string()).max(HOLDINGS_PER_MESSAGE) })
export const holdingsAnswer = z.strictObject({
  /** Positions of artifacts the answerer does not hold */
  unknown: z.array(z.int().min(0).max(HOLDINGS_PER_MESSAGE)).max(HOLDINGS_PER_MESSAGE),
})
export const checkRequest = z.strictObject({
  items: z.array(z.tuple([artifact, z.string().length(HEADS_DIGEST_CHARS)])).max(CHECK_ITEMS),
})
export const checkAnswer = z.strictObject({
  /** Holdings of those that differ, as many as fit; the rest comes up at the next check */
  differ: z.array(z.string()).max(CHECK_ITEMS),
  /** Positions of those the answerer does not hold, or may not speak of */
  absent: z.array(z.int().min(0).max(CHECK_ITEMS)).max(CHECK_ITEMS),
})
export const artifactRequest = z.strictObject({ artifact })
export const findAnswer = z.strictObject({
  holding: z.string(),
  /** Others that hold it, as far as the answerer knows */
  holders: z.array(z.string().refine(isNodeId)).max(256),
})
export const emptyAnswer = z.strictObject({})
export const fetchHeader = z.strictObject({
  v: z.literal(1),
  artifact,
  have: z.record(z.string().refine(isNodeId), z.int().min(1)),
})
export type FetchHeader = z.infer<typeof fetchHeader>

export function encodeMessage(message: object): Uint8Array {
  return Buffer.from(JSON.stringify(message))
}

/** @throws MeshError E_PROTOCOL */
export function decodeMessage<T>(schema: z.ZodType<T>, bytes: Uint8Array, what: string): T {
  const { data, success } = schema.safeParse(jsonOf(bytes, what))
  if (!success) throw new MeshError('E_PROTOCOL', `Cannot read ${what}: it has another form`)
  return data
}

function jsonOf(bytes: Uint8Array, what: string): unknown {
  try {
    return parseJsonText(bytes, what)
  } catch (cause) {
    throw new MeshError('E_PROTOCOL', `Cannot read ${what}: it is not JSON`, { cause })
  }
}
