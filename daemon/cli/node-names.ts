import type { Mesh } from '../../sdk/src/index.ts'

/** What to call a node instead of its id. */
export type NodeNames = ReadonlyMap<string, string>

/** Names of this node and the peers it knows, by node id. */
export async function nodeNames(mesh: Mesh): Promise<NodeNames> {
  const [status, peers] = await Promise.all([mesh.status(), mesh.peers()])
  return new Map([[status.id, status.name], ...peers.map((peer) => [peer.id, peer.name] as const)])
}

/** A name, or the end of the id of a node that is not known any more. */
export function nameOf(names: NodeNames, id: string): string {
  return names.get(id) ?? id.slice(-6)
}
