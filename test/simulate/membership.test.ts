import { describe, expect, test } from 'vitest'
import { MeshError } from '../../protocol/errors.ts'
import type { SignedList } from '../../protocol/membership/member-list.ts'
import { type MemberMessage, MemberNode, simList, simNewcomer, simSigner } from './member-node.ts'
import { forSeeds, Simulator } from './simulator.ts'

interface MeshInit {
  readonly seed: number
  readonly nodes: number
  readonly admins: number
  readonly loss?: number
}

class Mesh {
  readonly sim: Simulator<MemberMessage, MemberNode>
  #made: number

  constructor({ seed, nodes, admins, loss = 0 }: MeshInit) {
    const list = simList(nodes, admins)
    this.#made = nodes
    this.sim = new Simulator<MemberMessage, MemberNode>({ seed, loss, create: (node) => new MemberNode(node, list) })
    this.sim.add(...list.list.members.map(({ nodeId }) => nodeId))
    this.sim.connectAll()
  }

  /** What `change` refuses is refused by the machine too: e.g. by an admin that was put out meanwhile. */
  change(
    admin: string,
    change: { type: 'revoke'; nodeId: string } | { type: 'add'; nodeId: string; role?: 'admin' },
  ): boolean {
    if (!this.sim.isUp(admin)) return false
    try {
      const full = change.type === 'add' ? ({ name: 'new', role: 'member', ...change } as const) : change
      this.sim.call(admin, (node, now, out) => node.change(full, now, out))
      return true
    } catch (error) {
      if (error instanceof MeshError) return false
      throw error
    }
  }

  /** An admin lets a new node in, and it starts with the list the admin gave it. */
  join(admin: string): string | undefined {
    const newcomer = simNewcomer(this.#made++)
    if (!this.change(admin, { type: 'add', nodeId: newcomer })) return undefined
    const list: SignedList = this.sim.node(admin).state.held.current
    this.sim.addWith(newcomer, () => new MemberNode(newcomer, list))
    for (const other of this.sim.ids()) this.sim.connect(newcomer, other)
    return newcomer
  }

  /** Links that may exist again after lists changed. */
  settle(forMs: number): void {
    for (let passed = 0; passed < forMs; passed += 500) {
      this.sim.relink()
      this.sim.run(500)
    }
  }

  /** Nodes that believe they belong. */
  insiders(): string[] {
    return this.sim.ids().filter((id) => this.sim.isUp(id) && this.sim.node(id).admits(id))
  }

  digests(ids: readonly string[]): Set<string> {
    return new Set(ids.map((id) => Buffer.from(this.sim.node(id).state.held.current.digest).toString('hex')))
  }
}

const id = (index: number) => simSigner(index).nodeId

describe('simulated membership', () => {
  test('admins that change the list at once end with one list that holds what each of them did', () => {
    forSeeds(40, (seed) => {
      const mesh = new Mesh({ seed, nodes: 7, admins: 3 })
      mesh.settle(4_000)
      const joined: string[] = []
      const [victim] = [id(5)]
      // all within one message delay: none knows of the others' changes
      for (const admin of [id(0), id(1), id(2)]) {
        const newcomer = mesh.join(admin)
        if (newcomer) joined.push(newcomer)
        if (mesh.sim.random.chance(0.5)) mesh.change(admin, { type: 'revoke', nodeId: victim })
        mesh.sim.run(mesh.sim.random.next() * 30)
      }
      mesh.settle(15_000)
      const active = mesh.sim.node(id(0)).state.held.active
      expect(mesh.digests(mesh.insiders().filter((node) => active.has(node))).size).toBe(1)
      for (const newcomer of joined) expect(active.has(newcomer), 'an addition was lost').toBe(true)
    })
  })

  test('two admins who put each other out at once: the elder stays, everywhere', () => {
    forSeeds(40, (seed) => {
      const mesh = new Mesh({ seed, nodes: 6, admins: 1 })
      mesh.settle(4_000)
      mesh.sim.call(id(0), (node, now, out) =>
        node.change({ type: 'add', nodeId: id(1), name: 'younger', role: 'admin' }, now, out),
      )
      mesh.sim.call(id(0), (node, now, out) => node.change({ type: 'revoke', nodeId: id(5) }, now, out))
      mesh.sim.call(id(0), (node, now, out) =>
        node.change({ type: 'add', nodeId: id(5), name: 'young', role: 'admin' }, now, out),
      )
      mesh.settle(3_000)
      const [elder, younger] = [id(1), id(5)]
      const side = new Map(mesh.sim.ids().map((node, at) => [node, node === elder ? 0 : node === younger ? 1 : at % 2]))
      mesh.sim.partition((node) => side.get(node) ?? 0)
      mesh.change(elder, { type: 'revoke', nodeId: younger })
      mesh.change(younger, { type: 'revoke', nodeId: elder })
      mesh.settle(2_000)
      mesh.sim.heal()
      mesh.settle(15_000)
      for (const node of [id(0), id(2), id(3), id(4)]) {
        const { active } = mesh.sim.node(node).state.held
        expect(active.has(elder), 'the elder stays').toBe(true)
        expect(active.has(younger), 'the younger goes').toBe(false)
      }
      expect(mesh.digests([id(0), id(1), id(2), id(3), id(4)]).size).toBe(1)
    })
  })

  test('a revocation made on one side of a partition holds everywhere soon after it heals, and outlives every later list', () => {
    forSeeds(40, (seed) => {
      const mesh = new Mesh({ seed, nodes: 8, admins: 2, loss: 0.01 })
      mesh.settle(4_000)
      const { random } = mesh.sim
      const victim = id(7)
      const side = new Map(mesh.sim.ids().map((node, at) => [node, at < 2 ? at : random.below(2)]))
      mesh.sim.partition((node) => side.get(node) ?? 0)
      mesh.change(id(0), { type: 'revoke', nodeId: victim })
      // the other side goes on, to a later epoch, without knowing
      for (let more = 1 + random.below(3); more > 0; more--) mesh.join(id(1))
      mesh.settle(5_000)
      if (random.chance(0.5)) mesh.sim.crash(id(3))
      mesh.sim.heal()
      mesh.settle(2_000)
      mesh.sim.restart(id(3))
      mesh.settle(20_000)
      const insiders = mesh.insiders().filter((node) => node !== victim)
      expect(insiders.length).toBeGreaterThanOrEqual(8)
      expect(mesh.digests(insiders).size).toBe(1)
      for (const node of insiders) {
        expect(mesh.sim.node(node).state.held.active.has(victim)).toBe(false)
        expect(mesh.sim.isLinked(node, victim)).toBe(false)
      }
    })
  })

  test('an admin made during a partition, who alone went on changing the list, is known to the other side soon after it heals', () => {
    forSeeds(40, (seed) => {
      const mesh = new Mesh({ seed, nodes: 8, admins: 2, loss: 0.01 })
      mesh.settle(4_000)
      const { random } = mesh.sim
      const side = new Map(mesh.sim.ids().map((node, at) => [node, at % 2]))
      mesh.sim.partition((node) => side.get(node) ?? 0)
      // both go on, the side with the new admin to a later epoch
      const here = mesh.join(id(0))
      mesh.change(id(1), { type: 'add', nodeId: id(3), role: 'admin' })
      mesh.settle(2_000)
      const there = Array.from({ length: 1 + random.below(3) }, () => mesh.join(id(3)))
      mesh.settle(5_000)
      mesh.sim.heal()
      mesh.settle(20_000)
      expect(mesh.digests(mesh.insiders()).size).toBe(1)
      const { active } = mesh.sim.node(id(6)).state.held
      expect([here, ...there].map((node) => active.has(node ?? ''))).toEqual([true, ...there.map(() => true)])
      expect(active.get(id(3))?.role).toBe('admin')
    })
  })

  test('random changes, partitions, crashes and broken links: one list in the end, and nobody serves a node it knows to be out', () => {
    forSeeds(60, (seed) => {
      const mesh = new Mesh({ seed, nodes: 8, admins: 3, loss: 0.005 })
      const { sim } = mesh
      const { random } = sim
      mesh.settle(4_000)
      for (let turn = 0; turn < 12; turn++) {
        const what = random.below(6)
        const admin = id(random.below(3))
        if (what === 0) mesh.join(admin)
        if (what === 1) mesh.change(admin, { type: 'revoke', nodeId: id(3 + random.below(5)) })
        if (what === 2) sim.crash(random.pick(sim.ids()))
        if (what === 3) for (const node of sim.ids()) sim.restart(node)
        if (what === 4) {
          const seedSide = random.below(1 << 30)
          sim.partition((node) => (node.charCodeAt(20) * 31 + seedSide) % 2)
        }
        if (what === 5) sim.heal()
        sim.run(random.next() * 1_500)
        for (const node of sim.ids().filter((one) => sim.isUp(one))) {
          const { peers, held } = sim.node(node).state
          for (const peer of peers.keys()) expect(held.active.has(peer), 'a peer that is out').toBe(true)
        }
      }
      sim.heal()
      for (const node of sim.ids()) sim.restart(node)
      mesh.settle(30_000)
      const { active } = sim.node(id(0)).state.held
      const inside = [...active.keys()].filter((node) => sim.isUp(node))
      expect(mesh.digests(inside).size, 'lists differ').toBe(1)
    })
  })

  test('the same seed gives the same run', () => {
    const run = () => {
      const mesh = new Mesh({ seed: 42, nodes: 8, admins: 3, loss: 0.02 })
      mesh.settle(3_000)
      mesh.join(id(0))
      mesh.change(id(1), { type: 'revoke', nodeId: id(6) })
      mesh.settle(5_000)
      return `${mesh.sim.messages} ${[...mesh.digests(mesh.insiders())].sort().join()}`
    }
    expect(run()).toBe(run())
  })

  test('P2P-17 in 120 nodes a revocation reaches all in under 5 s of their time, and a late joiner knows every provider', () => {
    const mesh = new Mesh({ seed: 7, nodes: 120, admins: 2 })
    mesh.settle(5_000)
    const start = mesh.sim.now
    const victim = id(119)
    mesh.change(id(0), { type: 'revoke', nodeId: victim })
    const isOut = () => mesh.sim.ids().every((node) => node === victim || !mesh.sim.isLinked(node, victim))
    while (!isOut() && mesh.sim.now - start < 10_000) mesh.sim.run(10)
    expect(mesh.sim.now - start).toBeLessThan(5_000)
    const late = simNewcomer(200)
    mesh.sim.call(id(1), (node, now, out) =>
      node.change({ type: 'add', nodeId: late, name: 'late', role: 'member' }, now, out),
    )
    mesh.settle(1_000)
    const list = mesh.sim.node(id(1)).state.held.current
    mesh.sim.addWith(late, () => new MemberNode(late, list))
    mesh.sim.connect(late, id(50))
    mesh.settle(2_000)
    expect(mesh.sim.node(late).providers(mesh.sim.now).sort()).toEqual(
      mesh.sim
        .ids()
        .filter((node) => node !== late && node !== victim)
        .sort(),
    )
  })
})
