/** Which nodes could hold a sandbox, nearest first: by the same ranking as tasks, from the cards that nodes sign about themselves. */
import { MeshError } from '../../protocol/errors.ts'
import { type NodeFacts, type RankedCandidate, rank } from '../../protocol/placement/rank.ts'
import type { SandboxOrder } from '../../protocol/sandbox/op.ts'
import { DEFAULT_IMAGE_LABEL, imageLabel } from './host-images.ts'

export interface SandboxPlacerOptions {
  readonly self: string
  /** Every node of the mesh that is known, this one included */
  readonly nodes: () => readonly NodeFacts[]
  /** Looks for nodes with a label that are not known yet */
  readonly discover: (label: string) => Promise<void>
  readonly random: () => number
}

const CAPABILITY = 'sandbox'
/** Nodes tried for one sandbox */
const MOST = 4

export class SandboxPlacer {
  readonly #options: SandboxPlacerOptions

  constructor(options: SandboxPlacerOptions) {
    this.#options = options
  }

  /** Ids of able nodes, at most a few, best first; none when nobody is. */
  async candidates(order: SandboxOrder, on: string): Promise<readonly string[]> {
    const known = this.#able(order, on)
    if (known.length > 0 || on === 'local') return known
    await this.#options.discover(CAPABILITY)
    return this.#able(order, on)
  }

  /** Why nobody is able. */
  hopeless(order: SandboxOrder, on: string): MeshError {
    const ranked = this.#rank(order, on)
    const image = order.image === undefined ? 'the default image' : `the image ${order.image}`
    const reasons = ranked
      .map(({ name, reason }) => `${name}: ${reason.replace(/ carry the label image\/.*/, ` have ${image}`)}`)
      .slice(0, 5)
    const onlyGrade = order.isolation !== undefined && ranked.some(({ reason }) => reason.includes('isolation grade'))
    return new MeshError(
      onlyGrade ? 'E_GRADE' : 'E_NO_CANDIDATE',
      `No node of the mesh can make this sandbox: ${reasons.length === 0 ? 'no node is known' : reasons.join('; ')}`,
      { hint: 'See `manyhands capabilities sandbox` for nodes with an engine, and `manyhands image ls` for images' },
    )
  }

  /** @throws MeshError E_NOT_FOUND, E_CONFLICT */
  nodeCalled(name: string): string {
    const found = this.#options
      .nodes()
      .filter((facts) => facts.node === name || facts.name === name || (name === 'local' && facts.isSelf))
    const [only] = found
    if (only && found.length === 1) return only.node
    if (found.length > 1)
      throw new MeshError('E_CONFLICT', `Several nodes are called "${name}"`, { hint: 'Use the id of the node' })
    throw new MeshError('E_NOT_FOUND', `No node of the mesh is called "${name}"`, { hint: 'See: manyhands peers' })
  }

  #able(order: SandboxOrder, on: string): readonly string[] {
    return this.#rank(order, on)
      .filter(({ score }) => score !== undefined)
      .slice(0, MOST)
      .map(({ node }) => node)
  }

  #rank(order: SandboxOrder, on: string): readonly RankedCandidate[] {
    const { nodes, self, random } = this.#options
    // A node knows its own images for sure, and another's only by name
    const label = order.image === undefined ? DEFAULT_IMAGE_LABEL : imageLabel(order.image)
    const labels = order.image?.includes('sha256:') ? [] : [label]
    const requirements = { capability: CAPABILITY, grade: order.isolation, labels, on }
    return rank(nodes().map(asItIs), requirements, {
      hops: 0,
      path: [],
      excluded: new Map(),
      salt: `${self}${random()}`,
    })
  }
}

/** Slots are for other nodes: this one makes its own sandboxes without them. */
function asItIs(facts: NodeFacts): NodeFacts {
  if (!facts.isSelf) return facts
  return { ...facts, executors: facts.executors.map((offer) => ({ ...offer, slots: Math.max(1, offer.slots) })) }
}
