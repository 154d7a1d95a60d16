/**
 * What a node remembers of a sandbox in its journal (table `sandbox`, key: its id): JSON in UTF-8, one object, unknown fields refused. The container
 * is found again by `container`; were it gone, everything to make it anew is here. Rows are written after the container exists and before anybody is
 * told of the sandbox, so a container without a row belongs to nobody and a row without a container can be made good.
 */
import { z } from 'zod'
import { MeshError } from '../errors.ts'
import { GRADES } from '../job.ts'

const text = (max: number) => z.string().min(1).max(max)
export const SIZE = z.int().min(0)
const digest = z.string().regex(/^sha256:[0-9a-f]{64}$/)

/** As in a content's header too */
export const STORED_LIMITS = z.strictObject({
  memoryBytes: SIZE,
  milliCpus: SIZE,
  pids: SIZE,
  diskBytes: SIZE,
  inodes: SIZE,
  tmpBytes: SIZE,
  rootBytes: SIZE,
})

const snapshot = z.strictObject({
  name: text(64),
  createdAt: SIZE,
  bytes: SIZE,
  /** Which folder of the sandbox holds its disk */
  disk: text(64),
  /** The root as it was, an image; absent: as the sandbox's image */
  root: digest.optional(),
})

export const SANDBOX_ROW = z.strictObject({
  version: z.literal(1),
  id: z.string().regex(/^[a-z0-9]{16,32}$/),
  name: text(64).optional(),
  owner: text(200),
  profile: z.enum(['strict', 'build']),
  grade: z.enum(GRADES),
  runtime: text(64),
  image: z.strictObject({ name: text(300), digest }),
  /** The image its container was made from: its own, or a snapshot's root */
  root: digest,
  limits: STORED_LIMITS,
  workspace: z.enum(['loop', 'tmpfs']),
  rootQuota: z.enum(['read-only', 'hard', 'watched']),
  env: z.record(text(256), z.string().max(65_536)),
  sleepAfterMs: SIZE,
  createdAt: SIZE,
  /** The engine's id; empty while there is none */
  container: z.string().max(64),
  /** Which folder of the sandbox holds its present disk */
  disk: text(64),
  /** What the agent inside was started with */
  token: z.string().regex(/^[0-9a-f]{32}$/),
  snapshots: z.array(snapshot).max(64),
})

export type SandboxRow = Readonly<z.output<typeof SANDBOX_ROW>>
export type SnapshotRow = Readonly<z.output<typeof snapshot>>

export function encodeSandboxRow(row: SandboxRow): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(row))
}

/** @throws MeshError E_JOURNAL_GAP for bytes that are no row */
export function decodeSandboxRow(bytes: Uint8Array): SandboxRow {
  try {
    return SANDBOX_ROW.parse(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)))
  } catch (error) {
    throw new MeshError('E_JOURNAL_GAP', 'Cannot read a sandbox from the journal: its row is damaged', { cause: error })
  }
}
