/**
 * A receipt says what ran where, on what input, using what, with what result. It is an in-toto Statement v1
 * (https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md) whose predicate is ours.
 *
 * Encoding: JSON with exactly the fields below, in this order, without spaces. A reader writes what it read again and demands the same bytes, so there is one
 * spelling of each statement: no key twice, none unknown, no number written two ways. A later format has another predicate type.
 */
import * as z from 'zod'
import { ERRORS, type ErrorCode, isErrorCode } from '../errors.ts'
import { GRADES } from '../job.ts'
import { isNodeId } from '../node-id.ts'

export const STATEMENT_TYPE = 'https://in-toto.io/Statement/v1'
export const PREDICATE_TYPE = 'https://manyhands.dev/receipt/v1'
export const PAYLOAD_TYPE = 'application/vnd.in-toto+json'
/** A statement is about 1.5 KB; none of its parts grows with the work. */
export const MAX_STATEMENT_BYTES = 16 << 10

export const count = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER)
const millis = z.number().nonnegative().finite()
export const digest = z.strictObject({ sha256: z.string().regex(/^[0-9a-f]{64}$/) })
export const node = z.string().refine(isNodeId)
export const time = z.string().regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)

/** Receipts of a node form a chain: numbered from 1, each naming the sha256 of the payload before it; empty for the first */
export const chain = z.strictObject({ sequence: count.min(1), previous: z.string().regex(/^([0-9a-f]{64})?$/) })

const limits = z.strictObject({
  wallMs: count,
  cpuMs: count,
  memoryBytes: count,
  outputBytes: count,
  logBytes: count,
  hostCalls: count,
  hostCallBytes: count,
})

const usage = z.strictObject({
  wallMs: millis,
  cpuMs: millis,
  memoryBytes: count,
  outputBytes: count,
  logBytes: count,
  hostCalls: count,
  calls: count,
})

const predicate = z.strictObject({
  task: z.string().min(1).max(128),
  epoch: count,
  kind: z.enum(['run', 'batch', 'session']),
  /** Who ran it and signs this */
  node,
  /** Who asked for it */
  delegator: node,
  program: digest,
  input: digest,
  outcome: z.enum(['completed', 'failed', 'canceled']),
  /** Set unless it completed */
  error: z.custom<ErrorCode>((value) => isErrorCode(value)).optional(),
  grade: z.enum(GRADES),
  limits,
  usage,
  /** Of a map: which of its inputs, by index of the first */
  piece: z.strictObject({ from: count, count }).optional(),
  chain,
  /** The node's wall clock; display only */
  startedAt: time,
  endedAt: time,
})

const statement = z.strictObject({
  _type: z.literal(STATEMENT_TYPE),
  subject: z.tuple([z.strictObject({ name: z.enum(['output', 'program']), digest })]),
  predicateType: z.literal(PREDICATE_TYPE),
  predicate,
})

export type ReceiptStatement = z.infer<typeof statement>

/**
 * Writes a statement whose fields were set in the order of the schema above, which is the order of the encoding.
 * It is not checked here, on the path of every result: `makeReceipt` builds it field by field, and its tests read back what it writes.
 */
export function encodeStatement(value: ReceiptStatement): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value))
}

/** The statement, or a string that says what is wrong with it. */
export function decodeStatement(bytes: Uint8Array): ReceiptStatement | string {
  return decodeCanonical(statement, inconsistency, bytes)
}

/** What has one spelling, of one kind of statement. @param inconsistency says what is wrong with one whose form is right */
export function decodeCanonical<T>(
  schema: z.ZodType<T>,
  inconsistency: (value: T) => string | undefined,
  bytes: Uint8Array,
): T | string {
  if (bytes.length > MAX_STATEMENT_BYTES) return `it has ${bytes.length} bytes and may have ${MAX_STATEMENT_BYTES}`
  let value: unknown
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    value = JSON.parse(text)
  } catch {
    return 'the payload is not JSON'
  }
  const parsed = schema.safeParse(value)
  if (!parsed.success) return `the statement is not one this version knows: ${whereOf(parsed.error)}`
  if (JSON.stringify(parsed.data) !== text) return 'the statement is not written in its one canonical form'
  return inconsistency(parsed.data) ?? parsed.data
}

function whereOf(error: z.ZodError): string {
  const issue = error.issues[0]
  return issue ? `${issue.path.join('.') || 'the whole'} is wrong` : 'it is wrong'
}

function inconsistency({ subject, predicate: said }: ReceiptStatement): string | undefined {
  const hasOutput = subject[0].name === 'output'
  if (hasOutput !== (said.outcome === 'completed')) return 'it has an output if and only if the work completed'
  if (!hasOutput && subject[0].digest.sha256 !== said.program.sha256) return 'its subject is not its program'
  if ((said.error === undefined) !== (said.outcome === 'completed'))
    return 'it has an error if and only if the work did not complete'
  if (said.error !== undefined && !Object.hasOwn(ERRORS, said.error)) return 'its error code is unknown'
  return unchained(said.chain)
}

/** What is wrong with a link of a chain. */
export function unchained({ sequence, previous }: z.infer<typeof chain>): string | undefined {
  return (sequence === 1) === (previous === '') ? undefined : 'only the first receipt has none before it'
}
