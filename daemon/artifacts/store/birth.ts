/** New artifacts and next records, as this node signs them. */
import { randomBytes } from 'node:crypto'
import { type Genesis, genesisSchema } from '../../../protocol/artifact/genesis.ts'
import { type ArtifactRecord, type Attribution, sealRecord } from '../../../protocol/artifact/record.ts'
import type { ArtifactSettings } from '../../../protocol/artifact/settings.ts'
import { MeshError } from '../../../protocol/errors.ts'
import type { Signer } from '../../../protocol/signing/signing.ts'
import { recordCommit } from '../records/record-commit.ts'
import type { ArtifactState } from './state.ts'

/** @param createdAt milliseconds since 1970 @throws MeshError E_BAD_REQUEST */
export function newGenesis(owner: string, defaultBranch: string, createdAt: number): Genesis {
  const genesis = { v: 1, owner, nonce: randomBytes(16).toString('hex'), defaultBranch, createdAt }
  const { data } = genesisSchema.safeParse(genesis)
  if (data !== undefined) return data
  throw new MeshError('E_BAD_REQUEST', 'Cannot create an artifact: its default branch cannot be the name of one')
}

export interface Birth {
  readonly id: string
  readonly genesis: Genesis
  readonly settings: ArtifactSettings
  readonly by: Attribution
  /** Milliseconds since 1970 */
  readonly at: number
}

/** @returns the state of a new artifact, and the envelope of its first record */
export function bornArtifact(
  signer: Signer,
  { id, genesis, settings, by, at }: Birth,
): { state: ArtifactState; text: string } {
  const writer = signer.nodeId
  const facts = { v: 1, artifact: id, writer, sequence: 1, previous: null, epoch: 0, refs: {}, moves: [] } as const
  const sealed = sealRecord(signer, { ...facts, moves: [], genesis, settings, by, at })
  const commit = recordCommit(sealed.text, null).oid
  const head = { sequence: 1, digest: sealed.digest, commit, epoch: 0, refs: {} }
  const row = {
    v: 1,
    id,
    name: settings.name,
    genesis,
    settings,
    ...(by.agent === undefined ? {} : { agent: by.agent }),
    bytes: 0,
    made: false,
    packs: 0,
    writers: [writer],
    sequence: 1,
    frozen: [],
  } as const
  return {
    state: { row: { ...row, writers: [writer], frozen: [] }, heads: new Map([[writer, head]]) },
    text: sealed.text,
  }
}

type Change = Pick<ArtifactRecord, 'refs' | 'moves' | 'by' | 'epoch' | 'at'> & {
  readonly settings: ArtifactSettings | undefined
}

export function nextRecord({ row, heads }: ArtifactState, writer: string, change: Change): ArtifactRecord {
  const own = heads.get(writer)
  const { settings, ...rest } = change
  return {
    v: 1,
    artifact: row.id,
    writer,
    sequence: (own?.sequence ?? 0) + 1,
    previous: own?.digest ?? null,
    ...rest,
    epoch: Math.max(change.epoch, own?.epoch ?? 0),
    ...(settings === undefined ? {} : { settings }),
  }
}
