/**
 * A holding: a node's signed statement of what it holds of an artifact, durably. The one message of replication: it announces and it acknowledges.
 *
 *   payload   canonical JSON {v: 1, artifact, holder, heads: {<writer>: {sequence, digest, frozen?}}, placed, lacks?, at}
 *   envelope  DSSE over the payload, signed with the holder's node key; canonical JSON as text
 *
 * A node believes a holding only from the holder itself, over its own connection: an older one, passed on by somebody else, would say too little.
 */
import * as z from 'zod'
import { MeshError } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import { isNodeId } from '../node-id.ts'
import { openEnvelope, sealEnvelope } from '../receipt/dsse.ts'
import type { Signer } from '../signing/signing.ts'
import { canonicalJson } from './canonical-json.ts'
import { isArtifactId } from './genesis.ts'
import { type Heads, newsIn } from './heads.ts'

export const HOLDING_TYPE = 'application/vnd.manyhands.artifact-holding.v1+json'

const nodeId = z.string().refine(isNodeId, 'not a node id')
const headSchema = z.strictObject({
  sequence: z.int().min(1),
  digest: z.string().regex(/^[0-9a-f]{64}$/),
  frozen: z.literal(true).optional(),
})
const holdingSchema = z.strictObject({
  v: z.literal(1),
  artifact: z.string().refine(isArtifactId, 'not an artifact id'),
  holder: nodeId,
  heads: z.record(nodeId, headSchema),
  /** It holds a copy because it was asked to */
  placed: z.boolean(),
  /** Large files that its commits name and that it does not hold yet; absent where it never heard of any */
  lacks: z.int().min(0).exactOptional(),
  /** Milliseconds since 1970; display only */
  at: z.int().min(0),
})
const envelopeSchema = z.strictObject({
  payloadType: z.literal(HOLDING_TYPE),
  payload: z.string(),
  signatures: z.array(z.strictObject({ keyid: z.string().max(64), sig: z.string().max(100) })).length(1),
})

export interface Holding {
  readonly artifact: string
  readonly holder: string
  readonly heads: Heads
  readonly placed: boolean
  /** Large files that its commits name and that it does not hold yet; absent where it never heard of any */
  readonly lacks?: number
  readonly at: number
}

export function sealHolding(signer: Signer, { artifact, heads, placed, lacks, at }: Omit<Holding, 'holder'>): string {
  const listed: Record<string, z.infer<typeof headSchema>> = {}
  for (const [writer, { sequence, digest, frozen }] of heads) {
    listed[writer] = { sequence, digest, ...(frozen === true ? { frozen } : {}) }
  }
  const payload = {
    v: 1,
    artifact,
    holder: signer.nodeId,
    heads: listed,
    placed,
    ...(lacks === undefined ? {} : { lacks }),
    at,
  }
  return canonicalJson(sealEnvelope(signer, HOLDING_TYPE, Buffer.from(canonicalJson(payload))))
}

/** Whether who stated `theirs` holds all that `mine` says, large files included. Who never heard of large files where there are some has none. */
export function holdsAll(
  theirs: Pick<Holding, 'heads' | 'lacks'> | undefined,
  mine: Pick<Holding, 'heads' | 'lacks'>,
): boolean {
  if (theirs === undefined || newsIn(mine.heads, theirs.heads).length > 0) return false
  return theirs.lacks === 0 || (theirs.lacks === undefined && mine.lacks === undefined)
}

/** @throws MeshError E_TOO_LARGE, E_PROTOCOL malformed, E_SIGNATURE not signed by the holder it names */
export function openHolding(text: string): Holding {
  if (text.length > LIMITS.artifactHoldingBytes)
    throw new MeshError('E_TOO_LARGE', 'Cannot read a holding: it is too long')
  const envelope = envelopeSchema.safeParse(jsonOf(text)).data
  if (envelope === undefined) throw malformed('its envelope has another form')
  const opened = openEnvelope(envelope)
  if (typeof opened === 'string') throw new MeshError('E_SIGNATURE', `Cannot trust a holding: ${opened}`)
  const { data } = holdingSchema.safeParse(jsonOf(Buffer.from(opened.payload).toString('utf8')))
  if (data === undefined) throw malformed('its payload has another form')
  if (opened.signer !== data.holder) {
    throw new MeshError('E_SIGNATURE', 'Cannot trust a holding: another node signed it')
  }
  const heads = Object.entries(data.heads).map(
    ([writer, { sequence, digest, frozen }]) => [writer, { sequence, digest, ...(frozen ? { frozen } : {}) }] as const,
  )
  return { ...data, heads: new Map(heads) }
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function malformed(why: string): MeshError {
  return new MeshError('E_PROTOCOL', `Cannot read a holding: ${why}`)
}
