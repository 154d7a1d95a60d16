/**
 * A receipt of commits says which commit of an artifact a task read and which one was made of its result. The node that was asked for the task signs it, since it alone
 * read the one and made the other; what ran in between is another receipt, signed by the node that ran it, which this one names.
 *
 * Like that one it is an in-toto Statement v1, a link of its signer's one chain of receipts, with one spelling: JSON with exactly the fields below in this order,
 * without spaces. Its subject is the commit that was made, or the one that was read when none was made, by in-toto's digest `gitCommit`.
 */
import * as z from 'zod'
import { isArtifactId } from '../artifact/genesis.ts'
import { isObjectId } from '../artifact/ref-name.ts'
import { chain, decodeCanonical, digest, node, STATEMENT_TYPE, time, unchained } from './statement.ts'

export const COMMITS_TYPE = 'https://manyhands.dev/commits/v1'

const artifact = z.string().refine(isArtifactId)
const commit = z.string().refine(isObjectId)
const ref = z.string().regex(/^refs\/[\x21-\x7e]{1,512}$/)

const statement = z.strictObject({
  _type: z.literal(STATEMENT_TYPE),
  subject: z.tuple([z.strictObject({ name: artifact, digest: z.strictObject({ gitCommit: commit }) })]),
  predicateType: z.literal(COMMITS_TYPE),
  predicate: z.strictObject({
    task: z.string().min(1).max(128),
    /** Who was asked for the task, read and made the commits, and signs this */
    node,
    /** The receipt of the work: sha256 of its payload */
    work: digest,
    input: z.strictObject({ artifact, commit }).exactOptional(),
    output: z.strictObject({ artifact, ref, commit }).exactOptional(),
    chain,
    /** The node's wall clock; display only */
    at: time,
  }),
})

export type CommitsStatement = z.infer<typeof statement>

/** Writes a statement whose fields were set in the order of the schema above. */
export function encodeCommits(value: CommitsStatement): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value))
}

/** The statement, or a string that says what is wrong with it. */
export function decodeCommits(bytes: Uint8Array): CommitsStatement | string {
  return decodeCanonical(statement, inconsistency, bytes)
}

function inconsistency({ subject: [subject], predicate: said }: CommitsStatement): string | undefined {
  const about = said.output ?? said.input
  if (about === undefined) return 'it names no commit'
  if (subject.name !== about.artifact || subject.digest.gitCommit !== about.commit)
    return 'its subject is not the commit it is about'
  return unchained(said.chain)
}
