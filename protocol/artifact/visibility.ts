import type { ArtifactSettings } from './settings.ts'

type Audience = Pick<ArtifactSettings, 'visibility' | 'readers' | 'delegates' | 'replicas'>

/**
 * Whether a member of the mesh may know of an artifact, read it and hold it. A private one: its owner, and those its owner named, as readers, as delegates or as
 * nodes that must hold it. To everyone else it does not exist: every answer is the one for an id that nobody ever made.
 */
export function mayKnow(node: string, owner: string, { visibility, readers, delegates, replicas }: Audience): boolean {
  if (visibility === 'mesh' || node === owner) return true
  return [readers, delegates, replicas.mustInclude].some((named) => named.includes(node))
}
