/**
 * Artifacts in the journal. All rows are JSON but the packs; every fact and the rows it changes land in one append.
 *
 *   table              key                        value
 *   artifact           id                         ArtifactRow
 *   artifact-head      id/writer                  HeadRow: the newest record of a writer, with its refs
 *   artifact-name      name                       id
 *   artifact-birth     id                         envelope of the owner's first record, until it stands in the repository for good
 *   artifact-pending   id/number (12 digits)      pack row (pack-file.ts): objects acknowledged but not yet synced into the repository
 *   artifact-usage     "node" | "agent/"sha256    UsageRow
 *   artifact-task      task/id/sequence (10)      TaskMovesRow: what a task moved
 *   artifact-gone      id                         empty: it was removed, its files and what is kept of it elsewhere are not yet
 *   artifact-offer     id                         OfferRow: what delegates moved and the owner, this node, has not looked at (offers.ts)
 *   artifact-left      id                         LeftRow: its repository holds what no ref reaches, since then
 */
import * as z from 'zod'
import { canonicalJson } from '../../../protocol/artifact/canonical-json.ts'
import { genesisSchema } from '../../../protocol/artifact/genesis.ts'
import { settingsSchema } from '../../../protocol/artifact/settings.ts'
import { MeshError } from '../../../protocol/errors.ts'
import type { TableWrite } from '../../journal/journal.ts'

export const TABLES = {
  artifact: 'artifact',
  head: 'artifact-head',
  name: 'artifact-name',
  birth: 'artifact-birth',
  pending: 'artifact-pending',
  usage: 'artifact-usage',
  task: 'artifact-task',
  gone: 'artifact-gone',
  left: 'artifact-left',
  offer: 'artifact-offer',
} as const

/** Kinds of fact in the journal. Bodies are JSON: what happened to which artifact, for people and tools; state is in the tables. */
export const ARTIFACT_RECORDS = [
  'artifact.created',
  'artifact.moved',
  'artifact.adopted',
  'artifact.settled',
  'artifact.removed',
  'artifact.cleared',
] as const
export type ArtifactFact = (typeof ARTIFACT_RECORDS)[number]

const refs = z.record(z.string(), z.string())

const artifactRow = z.strictObject({
  v: z.literal(1),
  id: z.string(),
  name: z.string(),
  genesis: genesisSchema,
  settings: settingsSchema,
  agent: z.string().optional(),
  /** Bytes of objects, counted for quotas */
  bytes: z.int().min(0),
  /** Bytes of large files kept beside the repository, counted too */
  files: z.int().min(0).optional(),
  /** Whether the repository exists on disk for good */
  made: z.boolean(),
  /** Number of the last pack row; never used again */
  packs: z.int().min(0),
  /** Node ids that have a head row, in order of arrival */
  writers: z.array(z.string()),
  /** Newest sequence of the owner that is held; 0: none */
  sequence: z.int().min(0),
  /** Writers with a proof */
  frozen: z.array(z.string()),
  /** Canonical refs where a quorum decides; otherwise they are the owner's */
  canonical: refs.optional(),
})
export type ArtifactRow = Readonly<z.infer<typeof artifactRow>>

/** All that is counted for quotas. */
export function bytesOf({ bytes, files = 0 }: ArtifactRow): number {
  return bytes + files
}

const headRow = z.strictObject({
  sequence: z.int().min(1),
  digest: z.string(),
  commit: z.string(),
  epoch: z.int().min(0),
  refs,
  /** Own refs that the canonical ones contain by now: shown no more */
  hidden: z.array(z.string()).optional(),
  /** Two records of one sequence, as commits */
  proof: z.strictObject({ sequence: z.int().min(1), commits: z.array(z.string()).length(2) }).optional(),
})
export type HeadRow = Readonly<z.infer<typeof headRow>>

const usageRow = z.strictObject({ artifacts: z.int().min(0), bytes: z.int().min(0) })
export type UsageRow = Readonly<z.infer<typeof usageRow>>

const refMove = z.strictObject({ ref: z.string(), old: z.string().nullable(), new: z.string().nullable() })
const offerRow = z.array(z.strictObject({ writer: z.string(), moves: z.array(refMove) }))
export type OfferRow = z.infer<typeof offerRow>

/** Milliseconds since 1970 */
const leftRow = z.strictObject({ since: z.int().min(0) })

export const decodeArtifactRow = (bytes: Uint8Array): ArtifactRow => decode(artifactRow, bytes)
export const decodeHeadRow = (bytes: Uint8Array): HeadRow => decode(headRow, bytes)
export const decodeUsageRow = (bytes: Uint8Array): UsageRow => decode(usageRow, bytes)
export const decodeOfferRow = (bytes: Uint8Array): OfferRow => decode(offerRow, bytes)
export const decodeLeftRow = (bytes: Uint8Array): z.infer<typeof leftRow> => decode(leftRow, bytes)

export function encodeRow(row: object): Uint8Array {
  return Buffer.from(canonicalJson(row))
}

/** A row that passed the journal's checksum and still has another form was written by another version. */
function decode<T>(schema: z.ZodType<T>, bytes: Uint8Array): T {
  const { data, error } = schema.safeParse(JSON.parse(Buffer.from(bytes).toString('utf8')))
  if (data !== undefined) return data
  throw new MeshError('E_JOURNAL_VERSION', 'Cannot read a row of an artifact: another version wrote it', {
    cause: error,
  })
}

export const headKey = (id: string, writer: string): string => `${id}/${writer}`
export const pendingKey = (id: string, number: number): string => `${id}/${String(number).padStart(12, '0')}`
export const taskKey = (task: string, id: string, sequence: number): string =>
  `${task}/${id}/${String(sequence).padStart(10, '0')}`

/** @param since undefined: there is nothing any more */
export function leftWrite(id: string, since: number | undefined): TableWrite {
  const row = { table: TABLES.left, key: id }
  return since === undefined ? row : { ...row, value: encodeRow({ since }) }
}
