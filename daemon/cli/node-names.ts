import type { Mesh } from '../../sdk/src/index.ts'

/** What to call a node instead of its id. */
export type NodeNames = ReadonlyMap<string, string>

/** Names of this node and the peers it knows, by node id. */
export async function nodeNames(mesh: Mesh): Promise<NodeNames> {
  const [status, peers] = await Promise.all([mesh.status(), mesh.peers()])
  return new Map([[status.id, status.name], ...peers.map((peer) => [peer.id, peer.name] as const)])
}

/** Ids of nodes that are named by name or id. What nobody is called stays as it is: the daemon says what is wrong with it. */
export async function nodeIds(mesh: Mesh, named: readonly string[]): Promise<string[]> {
  if (named.length === 0) return []
  const ids = new Map([...(await nodeNames(mesh))].map(([id, name]) => [name, id]))
  return named.map((one) => ids.get(one) ?? one)
}

/** A name, or the end of the id of a node that is not known any more. */
export function nameOf(names: NodeNames, id: string): string {
  return names.get(id) ?? id.slice(-6)
}
