/** Replication under delay, loss, partition, crash and loss of a node, with writers that go on offline. Same seed, same run. */
import { describe, expect, test } from 'vitest'
import { headsDigest } from '../../protocol/artifact/heads.ts'
import { type ReplicaMessage, ReplicaNode } from './replica-node.ts'
import { forSeeds, Simulator } from './simulator.ts'

type Sim = Simulator<ReplicaMessage, ReplicaNode>
const CONTRACT = { min: 3, max: 4, mustInclude: [] }

function meshOf(seed: number, count: number, loss = 0): Sim {
  const sim: Sim = new Simulator({ seed, loss, create: (id, random) => new ReplicaNode(id, random) })
  sim.add(...Array.from({ length: count }, (_, index) => `n${index}`))
  sim.connectAll()
  return sim
}

const up = (sim: Sim) => sim.ids().filter((id) => sim.isUp(id))
const holders = (sim: Sim, artifact: string) => up(sim).filter((id) => sim.node(id).held(artifact))
const write = (sim: Sim, id: string, artifact: string, variant?: string) =>
  sim.call(id, (node, now, out) => node.write(artifact, now, out, variant))

/** All holders hold the same, and there are as many as wanted. */
function expectSettled(sim: Sim, artifacts: readonly string[], contract = CONTRACT): void {
  for (const artifact of artifacts) {
    const found = holders(sim, artifact)
    expect(found.length, `holders of ${artifact}`).toBeGreaterThanOrEqual(contract.min)
    expect(found.length, `holders of ${artifact}`).toBeLessThanOrEqual(contract.max)
    expect(new Set(found.map((id) => headsDigest(sim.node(id).heads(artifact)))).size, artifact).toBe(1)
  }
  for (const id of up(sim)) expect(sim.node(id).busy, `${id} rests`).toEqual([])
}

describe('replication simulated', () => {
  test('copies are placed, and what is written anywhere reaches every holder', () => {
    forSeeds(20, (seed) => {
      const sim = meshOf(seed, 6)
      sim.call('n0', (node, now, out) => node.create('art', CONTRACT, now, out))
      sim.run(2_000)
      for (const id of holders(sim, 'art')) write(sim, id, 'art')
      sim.run(2_000)
      expectSettled(sim, ['art'])
      expect(sim.node('n0').heads('art').size).toBe(3)
    })
  })

  test('F07 two sides of a partition write on; within 30 s of healing all hold everything', () => {
    forSeeds(20, (seed) => {
      const sim = meshOf(seed, 7)
      sim.call('n0', (node, now, out) => node.create('art', CONTRACT, now, out))
      sim.run(5_000)
      sim.partition((id) => Number(id.slice(1)) % 2)
      for (let step = 0; step < 10; step++) {
        for (const id of holders(sim, 'art')) write(sim, id, 'art')
        sim.run(2_000)
      }
      const written = new Map(holders(sim, 'art').map((id) => [id, sim.node(id).heads('art').get(id)?.sequence]))
      sim.heal()
      sim.run(30_000)
      expectSettled(sim, ['art'])
      for (const [writer, sequence] of written) {
        expect(sim.node('n0').heads('art').get(writer)?.sequence, writer).toBe(sequence)
      }
    })
  })

  test('F12 F32 under random faults nothing acknowledged is lost, and the number of copies is restored', () => {
    let total = 0
    forSeeds(10, (seed) => {
      const sim = meshOf(seed, 8, 0.02)
      const { random } = sim
      const artifacts = ['a0', 'a1', 'a2', 'a3']
      artifacts.forEach((artifact, index) =>
        sim.call(`n${index}`, (node, now, out) => node.create(artifact, CONTRACT, now, out)),
      )
      sim.run(5_000)
      const written: { artifact: string; writer: string; sequence: number; digest: string | undefined }[] = []
      const acknowledged = new Set<(typeof written)[number]>()
      let isLost = false
      for (let step = 0; step < 60; step++) {
        const artifact = random.pick(artifacts)
        const writer = random.pick(up(sim))
        if (sim.node(writer).held(artifact)) {
          const sequence = write(sim, writer, artifact)
          written.push({ artifact, writer, sequence, digest: sim.node(writer).digestAt(artifact, writer, sequence) })
        }
        if (random.chance(0.1)) sim.partition((id) => (Number(id.slice(1)) * 7 + seed) % 3)
        if (random.chance(0.2)) sim.heal()
        if (random.chance(0.1) && up(sim).length > 5) sim.crash(random.pick(up(sim)))
        if (random.chance(0.2)) for (const id of sim.ids()) if (id !== 'n7' || !isLost) sim.restart(id)
        if (step === 40 && sim.isUp('n7')) {
          isLost = true
          sim.crash('n7')
        }
        sim.run(random.below(3_000))
        for (const each of written) {
          const { writer, artifact, sequence } = each
          if (sim.isUp(writer) && sim.node(writer).acknowledged(artifact, writer, sequence) >= 2) acknowledged.add(each)
        }
      }
      sim.heal()
      for (const id of sim.ids()) if (id !== 'n7' || !isLost) sim.restart(id)
      sim.run(120_000)
      expectSettled(sim, artifacts)
      total += acknowledged.size
      for (const { artifact, writer, sequence, digest } of acknowledged) {
        for (const id of holders(sim, artifact)) {
          expect(sim.node(id).digestAt(artifact, writer, sequence), `${id} ${artifact} ${writer}`).toBe(digest)
        }
      }
    })
    expect(total).toBeGreaterThan(100)
  })

  test('GIT-13 a writer that signs two histories is frozen at every holder', () => {
    forSeeds(20, (seed) => {
      const sim = meshOf(seed, 5)
      sim.call('n0', (node, now, out) => node.create('art', { min: 5, max: 5, mustInclude: [] }, now, out))
      sim.run(5_000)
      write(sim, 'n1', 'art')
      sim.run(2_000)
      const backup = sim.node('n1').backup()
      sim.partition((id) => (id === 'n3' || id === 'n4' ? 1 : 0))
      write(sim, 'n1', 'art', 'one')
      sim.run(2_000)
      sim.crash('n1')
      sim.durable('n1').set('held', backup)
      sim.partition((id) => (id === 'n0' || id === 'n2' ? 0 : 1))
      sim.restart('n1')
      write(sim, 'n1', 'art', 'two')
      sim.run(2_000)
      sim.heal()
      sim.run(60_000)
      for (const id of ['n0', 'n2', 'n3', 'n4']) expect(sim.node(id).heads('art').get('n1')?.frozen, id).toBe(true)
      expectSettled(sim, ['art'], { min: 5, max: 5, mustInclude: [] })
    })
  })
})
