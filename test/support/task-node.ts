/** A node reduced to its task engine: memory network, memory journal, and an executor of choice. */
import type { Executor } from '../../daemon/exec/executor.ts'
import type { Journal } from '../../daemon/journal/journal.ts'
import { MemoryJournal } from '../../daemon/journal/memory-journal.ts'
import type { MemoryNetwork } from '../../daemon/net/memory-net.ts'
import type { MeshNet } from '../../daemon/net/mesh-net.ts'
import { TaskEngine } from '../../daemon/tasks/engine.ts'
import { Hands } from '../../daemon/tasks/hands.ts'
import { LocalWorker } from '../../daemon/tasks/local-worker.ts'
import { MeshPlacer } from '../../daemon/tasks/mesh-placer.ts'
import { ReceiptBook } from '../../daemon/tasks/receipt-book.ts'
import { TASK_ENGINE_RECORDS } from '../../daemon/tasks/records.ts'
import { RemoteWorker } from '../../daemon/tasks/remote-worker.ts'
import { PeerService } from '../../daemon/tasks/serve-peers.ts'
import { TaskStore } from '../../daemon/tasks/task-store.ts'
import type { NodeFacts } from '../../protocol/placement/rank.ts'
import { nodeIdFromSeed } from '../../protocol/node-id.ts'
import { DOMAINS, signerFromSeed, withDomain } from '../../protocol/signing/signing.ts'
import { DELEGATION_DEFAULTS } from '../../protocol/task/delegation.ts'
import type { Limits } from '../../protocol/job.ts'
import { ScriptedExecutor } from './scripted-executor.ts'

const MIB = 1 << 20
export const DEFAULT_LIMITS: Limits = {
  wallMs: 10_000,
  cpuMs: 5_000,
  memoryBytes: 64 * MIB,
  outputBytes: MIB,
  logBytes: 256 << 10,
  hostCalls: 1_000,
  hostCallBytes: 16 * MIB,
}

export interface TaskNodeOptions {
  readonly network: MemoryNetwork
  readonly name: string
  /** Ids of all nodes of the mesh, this one included */
  readonly mesh: () => readonly TaskNode[]
  readonly leaseMs?: number
  readonly patienceMs?: number
  readonly executor?: Executor & Partial<ScriptedExecutor>
  readonly journal?: Journal
  readonly slots?: number
  readonly offers?: boolean
}

export interface TaskNode {
  readonly id: string
  readonly name: string
  readonly net: MeshNet
  readonly engine: TaskEngine
  readonly hands: Hands
  readonly executor: ScriptedExecutor
  readonly journal: Journal
  readonly peers: PeerService
  /** What it noted: refused results, replays */
  readonly notes: { what: string; facts: Readonly<Record<string, unknown>> }[]
  close(): Promise<void>
}

export function seedOf(name: string): Uint8Array {
  return new Uint8Array(Buffer.from(name.padEnd(32, '.')).subarray(0, 32))
}

export function taskNode(options: TaskNodeOptions): TaskNode {
  const { name, network } = options
  const seed = seedOf(name)
  const id = nodeIdFromSeed(seed)
  const signer = signerFromSeed(seed)
  const gate = { admits: () => true, serves: () => true }
  const net = network.join({ self: id, gate })
  const journal = options.journal ?? new MemoryJournal({ types: TASK_ENGINE_RECORDS })
  const executor = options.executor instanceof ScriptedExecutor ? options.executor : new ScriptedExecutor()
  const receipts = new ReceiptBook(signer, journal)
  const hands = new Hands(executor, receipts, {
    slots: options.slots ?? 4,
    sessions: 64,
    queue: 1_000,
    queuePerOrigin: 500,
  })
  const notes: TaskNode['notes'] = []
  const note: (what: string, facts: Readonly<Record<string, unknown>>) => void = (what, facts) =>
    notes.push({ what, facts })
  const store = new TaskStore(journal, DEFAULT_LIMITS)
  const local = new LocalWorker(id, hands)
  const placer = new MeshPlacer({
    net,
    hands,
    nodes: () => options.mesh().map((node) => factsOf(node, id, net)),
    discover: async () => undefined,
    random: () => 0,
  })
  const engine = new TaskEngine({
    context: {
      self: id,
      store,
      placer,
      delegation: {
        ...DELEGATION_DEFAULTS,
        leaseMs: options.leaseMs ?? 2_000,
        patienceMs: options.patienceMs ?? DELEGATION_DEFAULTS.patienceMs,
      },
      worker: (node) => (node === id ? local : new RemoteWorker(node, net)),
      note,
    },
    net,
    defaults: DEFAULT_LIMITS,
    ceilings: DEFAULT_LIMITS,
    maxActive: 1_000,
  })
  const peers = new PeerService({
    net,
    hands,
    journal,
    sign: (body) => signer.sign(withDomain(DOMAINS.bid, body)),
    defaults: DEFAULT_LIMITS,
    ceilings: DEFAULT_LIMITS,
    tenure: { renewMs: 3_000, marginMs: 1_000 },
    note,
  })
  const close = (): Promise<void> => {
    engine.close()
    peers.close()
    return net.close()
  }
  return { id, name, net, engine, hands, executor, journal, peers, notes, close }
}

function factsOf(node: TaskNode, self: string, net: MeshNet): NodeFacts {
  const { slots, busy, queued } = node.hands.state()
  const executor = {
    kind: 'isolate',
    grade: node.hands.grade,
    slots,
    free: slots - busy,
    queued,
    maxMemoryBytes: 1 << 30,
    maxWallMs: 600_000,
  }
  return {
    node: node.id,
    name: node.name,
    isSelf: node.id === self,
    isMember: true,
    labels: ['isolate'],
    executors: [executor],
    rttMs: net.rttMs(node.id),
    distanceMs: undefined,
  }
}

/** Nodes that all know and are connected to each other. */
export async function taskMesh(
  network: MemoryNetwork,
  names: readonly string[],
  options: Partial<TaskNodeOptions> = {},
): Promise<TaskNode[]> {
  const nodes: TaskNode[] = []
  for (const name of names) nodes.push(taskNode({ network, name, mesh: () => nodes, ...options }))
  for (const [index, node] of nodes.entries()) {
    await node.engine.recover()
    for (const other of nodes.slice(index + 1)) {
      await node.net.connect(other.id, [`memory://${other.id}`])
      node.net.setReady(other.id)
      other.net.setReady(node.id)
    }
  }
  return nodes
}
