/** Puts the task engine of a node together. */
import { availableParallelism } from 'node:os'
import type { TaskState } from '../../protocol/api.ts'
import type { ExecutorOffer } from '../../protocol/card/card.ts'
import { GRADES } from '../../protocol/job.ts'
import { DOMAINS, withDomain } from '../../protocol/signing/signing.ts'
import type { NodeFacts } from '../../protocol/placement/rank.ts'
import { DELEGATION_DEFAULTS } from '../../protocol/task/delegation.ts'
import type { Config } from '../config/schema.ts'
import type { DirectoryService } from '../discovery/directory-service.ts'
import type { Executor } from '../exec/executor.ts'
import type { Identity } from '../identity/identity.ts'
import type { Journal } from '../journal/journal.ts'
import type { MeshNet } from '../net/mesh-net.ts'
import type { MetricSources } from '../observe/metrics.ts'
import { TaskEngine } from './engine.ts'
import { Hands } from './hands.ts'
import { LocalWorker } from './local-worker.ts'
import { MeshPlacer } from './mesh-placer.ts'
import { ReceiptBook } from './receipt-book.ts'
import { RemoteWorker } from './remote-worker.ts'
import { type GoesWith, Retention } from './retention.ts'
import { PeerService } from './serve-peers.ts'
import { TaskStore } from './task-store.ts'

export interface TaskPartsOptions {
  readonly config: Config
  readonly executor: Executor
  readonly identity: Identity
  readonly journal: Journal
  readonly net: MeshNet
  readonly directory: DirectoryService
  readonly logger: { warn(facts: object, message: string): void }
  /** Serves `fetch` of programs. @default none: the network is closed to them */
  readonly fetch?: (task: string, argsJson: string, signal: AbortSignal) => Promise<string>
  /** Rows of others that go when a task is dropped. @default none */
  readonly goesWith?: GoesWith
}

/** Jobs at once for each core: most wait for something most of the time. */
const SLOTS_PER_CORE = 4
/** After a start, members get this long to be heard before a task counts as one that nobody can take, milliseconds. */
const SETTLING_MS = 5_000
const SESSIONS = 256
const MAX_ACTIVE = 20_000

export class TaskParts {
  readonly engine: TaskEngine
  readonly receipts: ReceiptBook
  readonly hands: Hands
  readonly #options: TaskPartsOptions
  readonly #peers: PeerService | undefined
  readonly #retention: Retention

  constructor(options: TaskPartsOptions) {
    const { config, executor, identity, journal, net, directory, logger } = options
    const { defaults, ceilings } = config.executor
    const note = (what: string, facts: Readonly<Record<string, unknown>>): void => logger.warn({ ...facts }, what)
    this.#options = options
    const slots = config.executor.slots || SLOTS_PER_CORE * availableParallelism()
    this.receipts = new ReceiptBook(identity.signer, journal)
    this.hands = new Hands(executor, this.receipts, {
      slots,
      sessions: SESSIONS,
      queue: config.executor.queue,
      queuePerOrigin: Math.max(1, Math.floor(config.executor.queue / 4)),
      onChange: () => directory.changed(),
    })
    const store = new TaskStore(journal, defaults)
    const local = new LocalWorker(net.self, this.hands)
    const startedAt = performance.now()
    const placer = new MeshPlacer({
      net,
      hands: this.hands,
      nodes: () => directory.nodes(),
      own: () => this.#hand(),
      discover: async (label) => void (await directory.find(label)),
      random: Math.random,
      isSettling: () => performance.now() - startedAt < SETTLING_MS && directory.nodes().some(isUnheard),
      offers: config.placement.offers,
    })
    const delegation = { ...DELEGATION_DEFAULTS, leaseMs: config.lease.durationMs, answerMs: config.placement.roundMs }
    const worker = (node: string): LocalWorker | RemoteWorker =>
      node === net.self ? local : new RemoteWorker(node, net)
    this.engine = new TaskEngine({
      context: {
        self: net.self,
        store,
        placer,
        delegation,
        worker,
        note,
        ...(options.fetch === undefined ? {} : { fetch: options.fetch }),
      },
      net,
      defaults,
      ceilings,
      maxActive: MAX_ACTIVE,
    })
    this.#peers = this.#serves
      ? new PeerService({
          net,
          hands: this.hands,
          journal,
          sign: (body) => identity.signer.sign(withDomain(DOMAINS.bid, body)),
          defaults,
          ceilings,
          tenure: config.lease,
          note,
        })
      : undefined
    this.#retention = new Retention(store, journal, config.journal, options.goesWith)
  }

  get acceptsFromPeers(): boolean {
    return this.#options.config.placement.acceptFromPeers
  }

  /** Whether peers get hands here: wanted by the operator, and as isolated as the operator demands. */
  get #serves(): boolean {
    const { config, executor } = this.#options
    return this.acceptsFromPeers && GRADES.indexOf(executor.grade) >= GRADES.indexOf(config.executor.grade)
  }

  /** For this node's card. */
  offers(): ExecutorOffer[] {
    return this.#serves ? [this.#hand()] : []
  }

  /** What this node can do for itself, whether or not it does it for others. */
  #hand(): ExecutorOffer {
    const { executor, config } = this.#options
    const { slots, busy, queued } = this.hands.state()
    const { memoryBytes, wallMs } = config.executor.ceilings
    const { kind, grade } = executor
    return {
      kind,
      grade,
      slots,
      free: Math.max(0, slots - busy),
      queued,
      maxMemoryBytes: memoryBytes,
      maxWallMs: wallMs,
    }
  }

  /** A node was put out of the mesh: what it holds goes to others, what is done for it ends. */
  fence(node: string): void {
    this.engine.fence(node)
    this.#peers?.fence(node)
  }

  metricSources(
    directory: DirectoryService,
    net: MeshNet,
  ): Omit<MetricSources, 'clients' | 'sandboxes' | 'egress' | 'artifacts'> {
    return {
      tasks: (): Partial<Record<TaskState, number>> => this.engine.states(),
      leases: () => ({ held: this.#peers?.serving ?? 0, given: this.engine.working }),
      executors: () => [{ kind: this.#options.executor.kind, ...this.hands.state() }],
      journal: () => {
        const { journal } = this.#options
        return { sequence: journal.head, healthy: journal.health().state === 'ok' }
      },
      work: () => this.hands.outcomes,
      peers: () => ({ known: directory.peers().length, connected: net.connections().length }),
    }
  }

  /** Takes nothing new, lets what runs end for a while, then ends the rest: its delegators give it to others. */
  async close(drainMs: number): Promise<void> {
    this.engine.close()
    this.#retention.close()
    const timer = Promise.withResolvers<void>()
    const timeout = setTimeout(timer.resolve, drainMs)
    await Promise.race([this.hands.drain(), timer.promise])
    clearTimeout(timeout)
    this.hands.stop()
    this.#peers?.close()
  }
}

function isUnheard({ isSelf, executors }: NodeFacts): boolean {
  return !isSelf && executors.length === 0
}

export function composeTasks(options: TaskPartsOptions): TaskParts {
  return new TaskParts(options)
}
