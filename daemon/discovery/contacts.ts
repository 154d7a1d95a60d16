/** Whom to stay connected to. */

export interface Contact {
  readonly peer: string
  /** Measured or estimated, milliseconds; undefined: unknown */
  readonly distanceMs: number | undefined
  readonly isPinned: boolean
}

/**
 * Everyone, up to `max`. In a larger mesh: the pinned ones, then half of the room for the nearest and half for others spread evenly, so that the mesh stays one
 * piece. The spread hangs on both ids alone: the choice is the same each time, and differs between nodes.
 */
export function chooseContacts(self: string, contacts: readonly Contact[], max: number): readonly string[] {
  if (contacts.length <= max) return contacts.map(({ peer }) => peer)
  const pinned = contacts.filter(({ isPinned }) => isPinned).slice(0, max)
  const chosen = new Set(pinned.map(({ peer }) => peer))
  const near = contacts
    .filter(({ peer, distanceMs }) => !chosen.has(peer) && distanceMs !== undefined)
    .sort((a, b) => (a.distanceMs ?? 0) - (b.distanceMs ?? 0))
  for (const { peer } of near.slice(0, Math.floor((max - chosen.size) / 2))) chosen.add(peer)
  const rest = contacts.filter(({ peer }) => !chosen.has(peer))
  const spread = rest.map(({ peer }) => ({ peer, key: mix(self, peer) })).sort((a, b) => a.key - b.key)
  for (const { peer } of spread.slice(0, max - chosen.size)) chosen.add(peer)
  return [...chosen]
}

/** FNV-1a over both ids, 32 bit. */
function mix(self: string, peer: string): number {
  let hash = 0x811c9dc5
  for (const char of self + peer) hash = Math.imul(hash ^ char.charCodeAt(0), 0x01000193) >>> 0
  return hash
}
