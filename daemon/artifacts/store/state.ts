/** What is held of an artifact, and what follows from it: which refs people see, and which stand in its repository. Pure. */
import { recordRef, writerRef } from '../../../protocol/artifact/ref-name.ts'
import type { ArtifactView, WriterHead } from './artifact-store.ts'
import { type ArtifactRow, bytesOf, type HeadRow } from './rows.ts'

export interface ArtifactState {
  readonly row: ArtifactRow
  /** By writer */
  readonly heads: ReadonlyMap<string, HeadRow>
}

/** Settled by the owner's newest record, or by a quorum. A frozen owner's refs stay where they were before. */
export function canonicalOf({ row, heads }: ArtifactState): ReadonlyMap<string, string> {
  return new Map(Object.entries(row.canonical ?? heads.get(row.genesis.owner)?.refs ?? {}))
}

/** The refs that stand in a namespace of their own: everybody's but the owner's, whose are the canonical ones unless a quorum decides. */
function namespaced({ row }: ArtifactState, writer: string): boolean {
  return writer !== row.genesis.owner || row.canonical !== undefined
}

/** The canonical refs with a writer's own laid over them. */
export function shownRefs(state: ArtifactState, as: string | null): ReadonlyMap<string, string> {
  const canonical = canonicalOf(state)
  const head = as === null ? undefined : state.heads.get(as)
  if (head === undefined || as === null || !namespaced(state, as)) return canonical
  const shown = new Map(canonical)
  const hidden = new Set(head.hidden)
  for (const [ref, oid] of Object.entries(head.refs)) if (!hidden.has(ref)) shown.set(ref, oid)
  return shown
}

/** All refs of the repository on disk. */
export function physicalRefs(state: ArtifactState): Map<string, string> {
  const refs = new Map(canonicalOf(state))
  for (const [writer, head] of state.heads) {
    refs.set(recordRef(writer), head.commit)
    if (head.proof !== undefined) {
      for (const [index, commit] of head.proof.commits.entries()) {
        refs.set(`refs/manyhands/proofs/${writer}/${head.proof.sequence}/${index === 0 ? 'a' : 'b'}`, commit)
      }
    }
    if (!namespaced(state, writer)) continue
    for (const [ref, oid] of Object.entries(head.refs)) refs.set(writerRef(writer, ref), oid)
  }
  return refs
}

/** What refs of the repository name, other than the signed records themselves. */
export function contentTips(state: ArtifactState): Set<string> {
  const heads = [...state.heads.values()].flatMap(({ refs }) => Object.values(refs))
  return new Set([...canonicalOf(state).values(), ...heads])
}

export function headsOf({ heads }: ArtifactState): Map<string, WriterHead> {
  const all = new Map<string, WriterHead>()
  for (const [writer, { sequence, digest, commit, epoch, proof }] of heads) {
    all.set(writer, { sequence, digest, commit, epoch, ...(proof === undefined ? {} : { frozen: true }) })
  }
  return all
}

export function viewOf(row: ArtifactRow, self: string): ArtifactView {
  const { id, name, genesis, settings, agent, sequence, frozen } = row
  const bytes = bytesOf(row)
  const { owner, createdAt } = genesis
  const defaultBranch = defaultBranchOf(row)
  const view = { id, name, owner, mine: owner === self, defaultBranch, settings, createdAt, sequence, bytes, frozen }
  return agent === undefined ? view : { ...view, agent }
}

export function defaultBranchOf({ settings, genesis }: ArtifactRow): string {
  return settings.defaultBranch ?? genesis.defaultBranch
}
