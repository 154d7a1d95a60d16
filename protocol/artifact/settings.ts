/** What the owner of an artifact decides about it. Every record of the owner that changes one carries them all. */
import * as z from 'zod'
import { LIMITS } from '../limits.ts'
import { isNodeId } from '../node-id.ts'
import { isRefName } from './ref-name.ts'

const NAME_SHAPE = /^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$/
const nodeId = z.string().refine(isNodeId, 'not a node id')
const label = z.string().min(1).max(100)

/** A name is lower case and free of everything a path, a URL or a shell gives a meaning to. */
export function isArtifactName(value: unknown): value is string {
  return typeof value === 'string' && NAME_SHAPE.test(value) && !value.includes('..') && !value.endsWith('.git')
}

const replicas = z
  .strictObject({
    /** Holders below which repair begins, this node among them */
    min: z.int().min(1).max(64).default(1),
    /** Holders above which nobody takes another copy */
    max: z.int().min(1).max(64).default(8),
    /** Nodes that must hold it */
    mustInclude: z.array(nodeId).max(64).default([]),
  })
  .refine(({ min, max }) => min <= max, 'min is above max')

export const settingsSchema = z.strictObject({
  name: z.string().refine(isArtifactName, 'not a name'),
  /** Short name of the branch that HEAD points to. @default that of the genesis */
  defaultBranch: z
    .string()
    .refine((name) => isRefName(`refs/heads/${name}`), 'not the name of a branch')
    .optional(),
  description: z.string().max(1_000).default(''),
  /** private: only the owner and `readers`; mesh: every member */
  visibility: z.enum(['private', 'mesh']).default('mesh'),
  /** Nodes that may read and hold it while it is private */
  readers: z.array(nodeId).max(LIMITS.readers).default([]),
  /** Writers whose work counts towards the canonical refs */
  delegates: z.array(nodeId).max(64).default([]),
  /** How many of owner and delegates must agree on a canonical ref; 1: the owner alone decides */
  threshold: z.int().min(1).max(65).default(1),
  /** Names of checks a proposal must have passed before it is merged */
  checks: z.array(label).max(32).default([]),
  /** Approvals a proposal needs before it is merged */
  approvals: z.int().min(0).max(64).default(0),
  replicas: replicas.default({ min: 1, max: 8, mustInclude: [] }),
})
export type ArtifactSettings = Readonly<z.infer<typeof settingsSchema>>
