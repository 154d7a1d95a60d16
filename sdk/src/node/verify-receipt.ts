/**
 * Checks a receipt with nothing but the receipt: a DSSE envelope (https://github.com/secure-systems-lab/dsse) around an in-toto statement, signed with the Ed25519 key that
 * the signer's node id contains. Written apart from the daemon's own check; a contract test holds their verdicts equal.
 */
import { verify } from 'node:crypto'
import type { ReceiptCheck, ReceiptEnvelope } from '../../../protocol/api.ts'
import { receiptEnvelope } from '../replies.ts'
import { isObject } from '../shape.ts'
import { publicKeyOf } from './node-id.ts'
import { type CommitsStatement, type ReceiptStatement, readStatement } from './receipt-form.ts'

const PAYLOAD_TYPE = 'application/vnd.in-toto+json'
const MAX_PAYLOAD_BYTES = 16 << 10

/** Never throws; `reason` says what is wrong. @param value anything: a parsed file, an answer of `tasks.receipts()` */
export function verifyReceipt(value: unknown): ReceiptCheck {
  const opened = openReceipt(value)
  if (typeof opened === 'string') return { valid: false, reason: `Cannot trust the receipt: ${opened}` }
  return isOfWork(opened) ? checkOfWork(opened) : checkOfCommits(opened)
}

function isOfWork(opened: ReceiptStatement | CommitsStatement): opened is ReceiptStatement {
  return !('work' in opened.predicate)
}

function checkOfWork({ predicate, subject }: ReceiptStatement): ReceiptCheck {
  return {
    valid: true,
    node: predicate.node,
    task: predicate.task,
    epoch: predicate.epoch,
    outcome: predicate.outcome,
    program: predicate.program.sha256,
    input: predicate.input.sha256,
    ...(subject[0].name === 'output' ? { output: subject[0].digest.sha256 } : {}),
    sequence: predicate.chain.sequence,
    previous: predicate.chain.previous,
  }
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

function openReceipt(value: unknown): ReceiptStatement | CommitsStatement | string {
  if (!isEnvelope(value)) return 'it is not a DSSE envelope of an in-toto statement'
  const [signature, ...others] = value.signatures
  if (!signature || others.length > 0) return 'it must have exactly one signature'
  const payload = strictBase64(value.payload)
  const bytes = strictBase64(signature.sig)
  if (!payload || !bytes) return 'payload or signature is not base64'
  const key = publicKeyOf(signature.keyid)
  if (!key || bytes.length !== 64 || !verify(null, preAuthEncoding(payload), key, bytes))
    return 'the signature does not match'
  if (payload.length > MAX_PAYLOAD_BYTES) return `it has ${payload.length} bytes and may have ${MAX_PAYLOAD_BYTES}`
  const statement = readStatement(decodeUtf8(payload))
  if (typeof statement === 'string') return statement
  if (statement.predicate.node !== signature.keyid) return 'it is signed by another node than the one it names'
  return statement
}

/** Exactly an envelope: the form refuses what it does not know. */
function isEnvelope(value: unknown): value is ReceiptEnvelope {
  return (
    receiptEnvelope.accepts(value) &&
    isObject(value) &&
    value['payloadType'] === PAYLOAD_TYPE &&
    hasOnly(value, ['payloadType', 'payload', 'signatures']) &&
    Array.isArray(value['signatures']) &&
    value['signatures'].every((signature) => isObject(signature) && hasOnly(signature, ['keyid', 'sig']))
  )
}

function hasOnly(value: Record<string, unknown>, names: readonly string[]): boolean {
  return Object.keys(value).every((name) => names.includes(name))
}

/** PAE(type, body) = "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body */
function preAuthEncoding(payload: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`DSSEv1 ${PAYLOAD_TYPE.length} ${PAYLOAD_TYPE} ${payload.length} `), payload])
}

/** Undefined unless the text is the one spelling of its bytes. */
function strictBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64')
  return bytes.toString('base64') === text ? bytes : undefined
}

/** Empty, which is no JSON, when the bytes are not UTF-8. */
function decodeUtf8(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return ''
  }
}
