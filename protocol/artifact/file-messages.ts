/**
 * What nodes say to each other about large files (Git LFS), beside what they say about artifacts (replication-messages.ts).
 *
 *   artifact.files   {artifacts: [id]}   -> {}   "I have large files of these, perhaps ones you lack". Of what the answerer may not know of it thinks nothing
 *
 * The stream /manyhands/files/1, all in pkt-lines. The asker wants one file after the other, of one artifact, and ends its half after the last:
 *
 *   asks:      one packet of JSON {v: 1, artifact}
 *   then, for each file
 *   asks:      one packet of JSON {oid}, or {oid, from} when the asker has the bytes before that one
 *   answers:   "ERR E_NOT_FOUND" when it is not there; else one packet of JSON {size}, of the whole; the bytes, from there, in packets; flush
 *
 * Answers come in the order of the questions; the asker may send up to 64 names whose answers it has not read.
 * Who may not know of the artifact is told of every file that it is not there. Any other "ERR <code>" ends the stream.
 */
import * as z from 'zod'
import { isArtifactId } from './genesis.ts'

export const FILES_STREAM = '/manyhands/files/1'
export const FILES_METHOD = 'artifact.files'
/** Artifacts named by one message. */
export const FILES_PER_NOTICE = 256

const artifact = z.string().refine(isArtifactId, 'not an artifact id')

export const filesNotice = z.strictObject({ artifacts: z.array(artifact).max(FILES_PER_NOTICE) })
export const filesHeader = z.strictObject({ v: z.literal(1), artifact })
export const fileWanted = z.strictObject({
  oid: z.string().regex(/^[0-9a-f]{64}$/),
  from: z.int().min(1).exactOptional(),
})
export type FileWanted = z.output<typeof fileWanted>
export const fileOffered = z.strictObject({ size: z.int().min(0) })
