/** What a node holds of an artifact, in short: the newest record of each writer. */
import { createHash } from 'node:crypto'

/** The newest record held of one writer. */
export interface Head {
  /** From 1, without gaps */
  readonly sequence: number
  /** sha256 of the record's signed payload, hex */
  readonly digest: string
  /** Epoch of that record. @default 0 */
  readonly epoch?: number
  /** Two records of one sequence were seen: nothing more of this writer is taken */
  readonly frozen?: boolean
}

/** By writer. */
export type Heads = ReadonlyMap<string, Head>

/** Characters of `headsDigest`. */
export const HEADS_DIGEST_CHARS = 22

/**
 * Equal for two nodes if and only if neither can learn from the other: base64url of the first 16 bytes of sha256 over a line for each writer, in order of names.
 * A frozen writer's line does not say where: nodes that saw different halves of an equivocation first have nothing more to tell each other.
 */
export function headsDigest(heads: Heads): string {
  const lines = [...heads]
    .map(
      ([writer, { sequence, digest, frozen }]) => `${writer} ${frozen === true ? 'frozen' : `${sequence} ${digest}`}\n`,
    )
    .sort()
  const hash = createHash('sha256').update(lines.join('')).digest()
  return hash.subarray(0, 16).toString('base64url')
}

/** Writers of whom `theirs` holds something that `mine` lacks: later records, another record of the same sequence, or proof of two. */
export function newsIn(theirs: Heads, mine: Heads): string[] {
  return [...theirs].filter(([writer, head]) => isNews(head, mine.get(writer))).map(([writer]) => writer)
}

function isNews(theirs: Head, mine: Head | undefined): boolean {
  if (mine === undefined) return true
  if (mine.frozen === true) return false
  if (theirs.frozen === true || theirs.sequence > mine.sequence) return true
  return theirs.sequence === mine.sequence && theirs.digest !== mine.digest
}

/** Whether a node that states `heads` holds record `sequence` of `writer`, and with that everything before. */
export function covers(heads: Heads, writer: string, sequence: number): boolean {
  return (heads.get(writer)?.sequence ?? 0) >= sequence
}
