/** Making and checking receipts. A check needs nothing but the receipt: the node id in it contains the key that signed it. */
import { createHash } from 'node:crypto'
import * as z from 'zod'
import type { ReceiptCheck, ReceiptEnvelope } from '../api.ts'
import type { ErrorCode } from '../errors.ts'
import type { Grade, Limits, Usage } from '../job.ts'
import type { Signer } from '../signing/signing.ts'
import { openEnvelope, sealEnvelope } from './dsse.ts'
import { type CommitsStatement, COMMITS_TYPE, decodeCommits, encodeCommits } from './commits-statement.ts'
import { isoTime } from './iso-time.ts'
import {
  decodeStatement,
  encodeStatement,
  MAX_STATEMENT_BYTES,
  PAYLOAD_TYPE,
  PREDICATE_TYPE,
  type ReceiptStatement,
  STATEMENT_TYPE,
} from './statement.ts'

/** What is known when a piece of work ends. Digests are sha256 in lower-case hex. */
export interface ReceiptFacts {
  readonly task: string
  readonly epoch: number
  readonly kind: 'run' | 'batch' | 'session'
  readonly delegator: string
  readonly program: string
  readonly input: string
  /** Set if and only if it completed */
  readonly output?: string
  /** Set if and only if it did not */
  readonly error?: ErrorCode
  readonly grade: Grade
  readonly limits: Limits
  readonly usage: Usage
  readonly piece?: { readonly from: number; readonly count: number }
  /** Wall clock, milliseconds; display only */
  readonly startedAtMs: number
  readonly endedAtMs: number
}

/** The end of a node's chain of receipts: what the next one goes on from. Kept durably with the receipt that made it. */
export interface ReceiptChain {
  /** Receipts so far */
  readonly sequence: number
  /** sha256 of the payload of the last one, hex; empty before the first */
  readonly last: string
}

export const NO_RECEIPTS: ReceiptChain = Object.freeze({ sequence: 0, last: '' })

export function makeReceipt(signer: Signer, facts: ReceiptFacts, chain: ReceiptChain) {
  const payload = encodeStatement(statementOf(signer.nodeId, facts, chain))
  const envelope = sealEnvelope(signer, PAYLOAD_TYPE, payload)
  const next: ReceiptChain = { sequence: chain.sequence + 1, last: sha256(payload) }
  return { envelope, chain: next }
}

/** What is known when the result of a task has become a commit, or a task that read one has ended. */
export interface CommitsFacts {
  readonly task: string
  /** `receiptDigest` of the receipt of the work */
  readonly work: string
  /** At least one of both */
  readonly input?: { readonly artifact: string; readonly commit: string }
  readonly output?: { readonly artifact: string; readonly ref: string; readonly commit: string }
  /** Wall clock, milliseconds; display only */
  readonly atMs: number
}

/** The receipt of the commits that a task read and gave. @throws TypeError when it names none */
export function makeCommitsReceipt(signer: Signer, facts: CommitsFacts, chain: ReceiptChain) {
  const { task, work, input, output, atMs } = facts
  const about = output ?? input
  if (about === undefined) throw new TypeError('Cannot make a receipt of commits: it names none')
  const payload = encodeCommits({
    _type: STATEMENT_TYPE,
    subject: [{ name: about.artifact, digest: { gitCommit: about.commit } }],
    predicateType: COMMITS_TYPE,
    predicate: {
      task,
      node: signer.nodeId,
      work: { sha256: work },
      ...(input === undefined ? {} : { input: { artifact: input.artifact, commit: input.commit } }),
      ...(output === undefined
        ? {}
        : { output: { artifact: output.artifact, ref: output.ref, commit: output.commit } }),
      chain: { sequence: chain.sequence + 1, previous: chain.last },
      at: isoTime(atMs),
    },
  })
  const next: ReceiptChain = { sequence: chain.sequence + 1, last: sha256(payload) }
  return { envelope: sealEnvelope(signer, PAYLOAD_TYPE, payload), chain: next }
}

function statementOf(node: string, facts: ReceiptFacts, chain: ReceiptChain): ReceiptStatement {
  const { task, epoch, kind, delegator, grade, limits, usage, piece, error, output } = facts
  const outcome = output !== undefined ? 'completed' : error === 'E_CANCELED' ? 'canceled' : 'failed'
  const subject =
    output === undefined ? { name: 'program' as const, of: facts.program } : { name: 'output' as const, of: output }
  return {
    _type: STATEMENT_TYPE,
    subject: [{ name: subject.name, digest: { sha256: subject.of } }],
    predicateType: PREDICATE_TYPE,
    predicate: {
      task,
      epoch,
      kind,
      node,
      delegator,
      program: { sha256: facts.program },
      input: { sha256: facts.input },
      outcome,
      ...(output === undefined ? { error: error ?? 'E_INTERNAL' } : {}),
      grade,
      limits: limitsOf(limits),
      usage: usageOf(usage),
      ...(piece ? { piece: { from: piece.from, count: piece.count } } : {}),
      chain: { sequence: chain.sequence + 1, previous: chain.last },
      startedAt: isoTime(facts.startedAtMs),
      endedAt: isoTime(facts.endedAtMs),
    },
  }
}

/** Field by field: the order is part of the encoding. */
function limitsOf(limits: Limits): ReceiptStatement['predicate']['limits'] {
  const { wallMs, cpuMs, memoryBytes, outputBytes, logBytes, hostCalls, hostCallBytes } = limits
  return { wallMs, cpuMs, memoryBytes, outputBytes, logBytes, hostCalls, hostCallBytes }
}

function usageOf(usage: Usage): ReceiptStatement['predicate']['usage'] {
  const { outputBytes, logBytes, hostCalls, calls } = usage
  const micros = (ms: number) => Math.max(0, Math.round(ms * 1000) / 1000)
  const memoryBytes = Math.round(usage.memoryBytes)
  return {
    wallMs: micros(usage.wallMs),
    cpuMs: micros(usage.cpuMs),
    memoryBytes,
    outputBytes,
    logBytes,
    hostCalls,
    calls,
  }
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** Names one receipt: sha256 of its payload, hex. It is what the next receipt of the node calls `previous`. */
export function receiptDigest(envelope: ReceiptEnvelope): string {
  return sha256(Buffer.from(envelope.payload, 'base64'))
}

const envelopeSchema = z.strictObject({
  payloadType: z.literal(PAYLOAD_TYPE),
  payload: z.string().max(Math.ceil(MAX_STATEMENT_BYTES / 3) * 4),
  signatures: z.array(z.strictObject({ keyid: z.string().max(64), sig: z.string().max(128) })).max(8),
})

/** Checks one receipt. Never throws; `reason` says what is wrong. @param value anything: a parsed file, a peer's answer */
export function verifyReceipt(value: unknown): ReceiptCheck {
  const opened = openAs(value, (payload) => (isOfCommits(payload) ? decodeCommits(payload) : decodeStatement(payload)))
  if (typeof opened === 'string') return { valid: false, reason: `Cannot trust the receipt: ${opened}` }
  return opened.predicateType === COMMITS_TYPE ? checkOfCommits(opened) : checkOfWork(opened)
}

function checkOfCommits({ predicate }: CommitsStatement): ReceiptCheck {
  const { node, task, work, input, output, chain } = predicate
  return {
    valid: true,
    node,
    task,
    work: work.sha256,
    commits: { ...(input === undefined ? {} : { input }), ...(output === undefined ? {} : { output }) },
    sequence: chain.sequence,
    previous: chain.previous,
  }
}

function checkOfWork({ predicate, subject }: ReceiptStatement): ReceiptCheck {
  const output = subject[0].name === 'output' ? { output: subject[0].digest.sha256 } : {}
  return {
    valid: true,
    node: predicate.node,
    task: predicate.task,
    epoch: predicate.epoch,
    outcome: predicate.outcome,
    program: predicate.program.sha256,
    input: predicate.input.sha256,
    ...output,
    sequence: predicate.chain.sequence,
    previous: predicate.chain.previous,
  }
}

/** The statement of a receipt of work that verifies; a string says why it does not. */
export function openReceipt(value: unknown): ReceiptStatement | string {
  return openAs(value, decodeStatement)
}

/** Which of the two it says to be; whether it is, is decided by what reads it. */
function isOfCommits(payload: Uint8Array): boolean {
  return Buffer.from(payload.buffer, payload.byteOffset, payload.length).includes(`"predicateType":"${COMMITS_TYPE}"`)
}

function openAs<T extends { readonly predicate: { readonly node: string } }>(
  value: unknown,
  decode: (payload: Uint8Array) => T | string,
): T | string {
  const parsed = envelopeSchema.safeParse(value)
  if (!parsed.success) return 'it is not a DSSE envelope of an in-toto statement'
  const opened = openEnvelope(parsed.data)
  if (typeof opened === 'string') return opened
  const statement = decode(opened.payload)
  if (typeof statement === 'string') return statement
  if (statement.predicate.node !== opened.signer) return 'it is signed by another node than the one it names'
  return statement
}

export interface ChainCheck {
  readonly valid: boolean
  readonly reason?: string
  /** Sequences that are missing between the first and the last */
  readonly missing: readonly number[]
}

/** Missing numbers listed; a chain with more holes than this is said to have at least so many. */
const MAX_LISTED = 1000

/**
 * Checks that receipts of one node, in any order, belong to one chain: each is valid, no number is used for two different receipts, and each that follows another
 * names it. Missing ones are listed; they are no fault, since a delegator only gets the receipts of its own work.
 */
export function verifyReceiptChain(envelopes: readonly ReceiptEnvelope[]): ChainCheck {
  const bySequence = new Map<number, { digest: string; previous: string }>()
  let node: string | undefined
  for (const envelope of envelopes) {
    const check = verifyReceipt(envelope)
    if (!check.valid || check.sequence === undefined) return fault(check.reason ?? 'Cannot trust a receipt')
    if (node !== undefined && check.node !== node)
      return fault('Cannot check the chain: the receipts are of different nodes')
    node = check.node
    const entry = { digest: receiptDigest(envelope), previous: check.previous ?? '' }
    const other = bySequence.get(check.sequence)
    if (other && other.digest !== entry.digest)
      return fault(`The node made two different receipts with number ${check.sequence}`)
    bySequence.set(check.sequence, entry)
  }
  return linked(bySequence)
}

function linked(bySequence: ReadonlyMap<number, { digest: string; previous: string }>): ChainCheck {
  const missing: number[] = []
  let last: number | undefined
  for (const sequence of [...bySequence.keys()].sort((a, b) => a - b)) {
    if (
      last !== undefined &&
      sequence === last + 1 &&
      bySequence.get(sequence)?.previous !== bySequence.get(last)?.digest
    ) {
      return fault(`Receipt ${sequence} does not follow receipt ${last}`)
    }
    for (let gap = (last ?? sequence - 1) + 1; gap < sequence && missing.length < MAX_LISTED; gap++) missing.push(gap)
    last = sequence
  }
  return { valid: true, missing }
}

function fault(reason: string): ChainCheck {
  return { valid: false, reason, missing: [] }
}
