/**
 * Whether a record that came from elsewhere may be added to what this node holds of its writer. A signature alone is not enough: a record that was valid once, or
 * is valid elsewhere, is refused by the artifact's id, the writer's sequence, the hash of the record before, and the epoch.
 */
import type { Head } from './heads.ts'

/** What admission looks at; signature and form were checked by the decoder, and `signer` is who signed. */
export interface RecordFacts {
  readonly artifact: string
  readonly writer: string
  readonly signer: string
  readonly sequence: number
  readonly digest: string
  /** Digest of the writer's record before; null in its first */
  readonly previous: string | null
  readonly epoch: number
  readonly hasSettings: boolean
  /** Artifact id and owner that a genesis in it gives; undefined without one */
  readonly genesis?: { readonly artifact: string; readonly owner: string } | undefined
}

export interface AdmissionContext {
  readonly artifact: string
  readonly owner: string
  /** Newest record held of this writer */
  readonly head: Head | undefined
  /** Digest of the record held at a lower sequence; undefined when it is not at hand */
  readonly digestAt: (sequence: number) => string | undefined
  readonly isMember: (node: string) => boolean
}

export type Refusal =
  | 'other-artifact'
  | 'other-signer'
  | 'not-the-owners'
  | 'genesis'
  | 'chain'
  | 'lower-epoch'
  | 'frozen'
  /** Its writer is no member (any more) */
  | 'quarantined'

export type Verdict =
  | { readonly type: 'accept' }
  /** Held already, or older than what is held */
  | { readonly type: 'known' }
  /** Records between are missing: ask for those after `after` */
  | { readonly type: 'gap'; readonly after: number }
  /** The writer signed two histories; this record and the one held at `sequence` prove it */
  | { readonly type: 'equivocation'; readonly sequence: number }
  | { readonly type: 'refuse'; readonly why: Refusal }

const ACCEPT: Verdict = { type: 'accept' }
const KNOWN: Verdict = { type: 'known' }
const refuse = (why: Refusal): Verdict => ({ type: 'refuse', why })

export function admitRecord(record: RecordFacts, context: AdmissionContext): Verdict {
  const misplaced = misplacedBecause(record, context)
  if (misplaced !== undefined) return refuse(misplaced)
  const { head } = context
  const at = head?.sequence ?? 0
  if (record.sequence <= at) return older(record, context)
  // Frozen and expelled writers may still be caught lying (above), but nothing new of theirs is taken.
  if (head?.frozen === true) return refuse('frozen')
  if (!context.isMember(record.writer)) return refuse('quarantined')
  if (record.sequence > at + 1) return { type: 'gap', after: at }
  if (record.previous !== (head?.digest ?? null)) {
    // Its predecessor has our head's sequence and another digest, and the writer signed both.
    return head === undefined ? refuse('chain') : { type: 'equivocation', sequence: at }
  }
  if (record.epoch < (head?.epoch ?? 0)) return refuse('lower-epoch')
  return ACCEPT
}

function misplacedBecause(record: RecordFacts, { artifact, owner }: AdmissionContext): Refusal | undefined {
  if (record.artifact !== artifact) return 'other-artifact'
  if (record.signer !== record.writer) return 'other-signer'
  if (record.hasSettings && record.writer !== owner) return 'not-the-owners'
  if ((record.previous === null) !== (record.sequence === 1)) return 'chain'
  const opens = record.writer === owner && record.sequence === 1
  if (opens !== (record.genesis !== undefined)) return 'genesis'
  const isOwn = record.genesis?.artifact === artifact && record.genesis.owner === owner
  return opens && !isOwn ? 'genesis' : undefined
}

function older(record: RecordFacts, { head, digestAt }: AdmissionContext): Verdict {
  const held = record.sequence === head?.sequence ? head.digest : digestAt(record.sequence)
  if (held === undefined || held === record.digest) return KNOWN
  return { type: 'equivocation', sequence: record.sequence }
}
