/** What a receipt says of inputs and outputs: sha256, hex. */
import { createHash, type Hash } from 'node:crypto'
import type { ErrorCode } from '../../protocol/errors.ts'
import type { Grade, Usage } from '../../protocol/job.ts'
import type { Order, PieceOutcome } from './worker.ts'

export interface DigestedOrder {
  readonly order: Order
  readonly grade: Grade
  readonly input: string
  readonly output: string
  readonly usage: Usage
  /** Set when the job failed */
  readonly failed: ErrorCode | undefined
}

/** Of one text: its sha256. Of several: the sha256 over each text's length (u32 LE) and bytes, in order. */
export function digestOfInputs(inputs: readonly string[]): string {
  return inputs.length === 1 ? sha256(inputs[0] ?? '') : rollingDigest(inputs)
}

/** A piece that failed counts as the text of its error code. */
export function digestOfOutputs(output: string | undefined, pieces: readonly PieceOutcome[]): string {
  if (output !== undefined) return sha256(output)
  return rollingDigest(pieces.map((piece) => (piece.ok ? piece.output : `!${piece.error.code}`)))
}

export function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

/** Adds one text to a digest over several. */
export function addText(hash: Hash, text: string): void {
  const length = Buffer.allocUnsafe(4)
  length.writeUInt32LE(Buffer.byteLength(text))
  hash.update(length).update(text)
}

function rollingDigest(texts: readonly string[]): string {
  const hash = createHash('sha256')
  for (const text of texts) addText(hash, text)
  return hash.digest('hex')
}
