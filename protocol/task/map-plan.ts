/**
 * Which piece of a map goes to which node next. Pure bookkeeping: no clock, no I/O.
 *
 * Every able node has a window: pieces it may hold at once. It starts at what the node says it can run, grows by one with each success up to a few times that
 * (so that a fast node never waits for the next piece), and halves when the node refuses. The node that is emptiest for its window gets the next piece.
 */
export interface MapNode {
  readonly node: string
  readonly slots: number
}

export interface Assignment {
  readonly piece: number
  readonly node: string
}

interface Window {
  size: number
  readonly most: number
  held: number
  /** Refusals in a row */
  refusals: number
  /** Not asked before this time */
  restUntil: number
}

/** Pieces of a window above what the node can run at once: they wait there, ready. */
const AHEAD = 3

export class MapPlan {
  readonly #waiting: number[] = []
  readonly #windows = new Map<string, Window>()

  get waiting(): number {
    return this.#waiting.length
  }

  /** The nodes that can take pieces now; windows of others are forgotten once empty. */
  setNodes(nodes: readonly MapNode[]): void {
    const able = new Set(nodes.map(({ node }) => node))
    for (const [node, window] of this.#windows) if (!able.has(node) && window.held === 0) this.#windows.delete(node)
    for (const { node, slots } of nodes) {
      const most = Math.max(1, slots) * AHEAD
      if (!this.#windows.has(node))
        this.#windows.set(node, { size: Math.max(1, slots), most, held: 0, refusals: 0, restUntil: 0 })
    }
  }

  /** A piece looks for a node: first come, first served. */
  add(piece: number): void {
    this.#waiting.push(piece)
  }

  remove(piece: number): void {
    const index = this.#waiting.indexOf(piece)
    if (index >= 0) this.#waiting.splice(index, 1)
  }

  /** Hands out what fits. @param avoid nodes a piece was refused or lost by: others are preferred */
  assign(now: number, avoid: (piece: number) => readonly string[] = () => []): Assignment[] {
    const assigned: Assignment[] = []
    while (this.#waiting.length > 0) {
      const piece = this.#waiting[0] as number
      const node = this.#roomiest(now, avoid(piece)) ?? this.#roomiest(now, [])
      if (node === undefined) break
      this.#waiting.shift()
      assigned.push({ piece, node })
      const window = this.#windows.get(node)
      if (window !== undefined) window.held += 1
    }
    return assigned
  }

  /** When a resting node may be asked again, if nothing else moves the map on. */
  nextWake(now: number): number | undefined {
    if (this.#waiting.length === 0) return undefined
    const resting = [...this.#windows.values()].map((window) => window.restUntil).filter((until) => until > now)
    return resting.length === 0 ? undefined : Math.min(...resting)
  }

  /** The node gave the piece back, in whatever way. */
  released(node: string, outcome: 'done' | 'refused' | 'lost', now: number, retryAfterMs = 50): void {
    const window = this.#windows.get(node)
    if (window === undefined) return
    window.held = Math.max(0, window.held - 1)
    switch (outcome) {
      case 'done':
        window.size = Math.min(window.most, window.size + 1)
        window.refusals = 0
        break
      case 'refused':
        window.size = Math.max(1, Math.floor(window.size / 2))
        window.refusals += 1
        window.restUntil = now + retryAfterMs * 2 ** Math.min(window.refusals - 1, 5)
        break
      case 'lost':
        window.size = 1
        break
    }
  }

  #roomiest(now: number, avoid: readonly string[]): string | undefined {
    let best: string | undefined
    let bestLoad = 1
    for (const [node, window] of this.#windows) {
      if (avoid.includes(node) || window.restUntil > now) continue
      const load = window.held / window.size
      if (load < bestLoad) {
        best = node
        bestLoad = load
      }
    }
    return best
  }
}

/** Pieces that each slot gets on the whole, where a core has several slots: with fewer, all would wait for the slowest. */
const PIECES_PER_SLOT = 2
const MOST_INPUTS = 256

/**
 * Inputs per piece when the caller does not say: large enough that delegating costs little and code that an isolate has come to know is used for a while, small
 * enough that every slot gets several and a lost piece costs little, and never above what fits one bind.
 */
export function pieceSizeFor(
  inputs: number,
  bytes: number,
  slots: number,
  limits: { readonly batchInputs: number; readonly pieceBytes: number },
): number {
  const bySlots = Math.ceil(inputs / Math.max(1, slots * PIECES_PER_SLOT))
  const byBytes = bytes === 0 ? limits.batchInputs : Math.floor(limits.pieceBytes / Math.max(1, bytes / inputs))
  return Math.max(1, Math.min(bySlots, byBytes, MOST_INPUTS, limits.batchInputs))
}
