/**
 * Serves the orders of peers: answers offers with signed bids, accepts binds on task channels, keeps the lease (`protocol/task/tenure.ts`) and delivers
 * results. A bind is accepted once: for each delegator and task the highest epoch seen is durable before its result leaves.
 */
import { manyhands } from '../../proto/gen/wire.js'
import { decodeBounded } from '../../protocol/bounded-decode.ts'
import { MeshError } from '../../protocol/errors.ts'
import type { Limits } from '../../protocol/job.ts'
import { LIMITS } from '../../protocol/limits.ts'
import { isGrade } from '../../protocol/task/job-codec.ts'
import type { Journal } from '../journal/journal.ts'
import type { Channel, MeshNet } from '../net/mesh-net.ts'
import { checkLimits } from './check-limits.ts'
import type { Hands } from './hands.ts'
import { checkPath, orderOf } from './order-codec.ts'
import { ServedOrder } from './served-order.ts'
import type { Order } from './worker.ts'
import { RESUME_CHANNEL, TASK_CHANNEL } from './remote-worker.ts'

export interface PeerServiceOptions {
  readonly net: MeshNet
  readonly hands: Hands
  readonly journal: Journal
  /** Signs a bid; the signature lets a delegator prove what it was promised */
  readonly sign: (body: Uint8Array) => Uint8Array
  readonly defaults: Limits
  readonly ceilings: Limits
  readonly tenure: { readonly renewMs: number; readonly marginMs: number }
  /** What is worth a line in the log: refused results, replays. */
  readonly note: (what: string, facts: Readonly<Record<string, unknown>>) => void
}

/** For a peer that has too much here, milliseconds */
const RETRY_AFTER_MS = 500
/** Sizes, a path and the labels wanted: never a payload. */
const OFFER_BOUNDS = { what: 'task offer', maxBytes: 64 << 10, maxFields: 256 }

export class PeerService {
  readonly #options: PeerServiceOptions
  readonly #serving = new Set<ServedOrder>()
  /** Bytes of work by peer, on its way or taken */
  readonly #heldBytes = new Map<string, number>()
  /** Highest epoch accepted, by delegator and task, of what is being served now: the journal has the rest. */
  readonly #epochs = new Map<string, number>()

  constructor(options: PeerServiceOptions) {
    this.#options = options
    options.net.handle('offer', (body, { peer }) => this.#onOffer(body, peer))
    options.net.handleChannel(TASK_CHANNEL, (channel) => this.#onChannel(channel))
  }

  /** Leases held here. */
  get serving(): number {
    return this.#serving.size
  }

  /** Ends what is done for this node, which was put out of the mesh. */
  fence(peer: string): void {
    for (const served of this.#serving) if (served.order.delegator === peer) served.stop('E_REVOKED')
  }

  close(): void {
    for (const served of this.#serving) served.stop('E_STOPPING')
  }

  #onOffer(body: Uint8Array, peer: string): Uint8Array {
    const offer = decodeBounded(manyhands.Offer, body, OFFER_BOUNDS)
    const { net, hands, sign } = this.#options
    const grade = offer.requires?.grade
    if (grade && !isGrade(grade)) throw new MeshError('E_GRADE', 'The offer demands a grade unknown here')
    checkPath(offer.path, { self: net.self, peer })
    hands.check('run', peer, grade && isGrade(grade) ? grade : undefined)
    const { etaMs, queued, slots, busy } = hands.state()
    const bid = manyhands.Bid.encode({
      taskId: offer.taskId,
      nodeId: net.self,
      etaMs,
      queued,
      slots: Math.min(offer.count || 1, Math.max(1, slots - busy)),
      validMs: 2_000,
      grade: hands.grade,
    }).finish()
    return manyhands.SignedBid.encode({ body: bid, signature: sign(bid) }).finish()
  }

  #onChannel(channel: Channel): void {
    const served = new ServedOrder(channel, {
      accept: (bind) => this.#accept(bind, channel.peer),
      take: (order, events) => this.#options.hands.take(order, events),
      resume: (order) => this.#resume(order),
      tenure: (order) => ({ leaseMs: order.leaseMs, ...this.#tenureOf(order.leaseMs) }),
      hold: (bytes) => this.#hold(channel.peer, bytes),
      ended: (heldBytes) => {
        this.#hold(channel.peer, -heldBytes)
        this.#serving.delete(served)
        if (served.boundOrder !== undefined) this.#epochs.delete(epochKey(served.boundOrder))
      },
    })
    this.#serving.add(served)
  }

  /** @throws MeshError E_OVERLOADED */
  #hold(peer: string, bytes: number): void {
    const held = (this.#heldBytes.get(peer) ?? 0) + bytes
    if (bytes > 0 && held > LIMITS.peerWorkBytes)
      throw new MeshError('E_OVERLOADED', 'This node has no room for so much work of one node', {
        retryAfterMs: RETRY_AFTER_MS,
      })
    if (held > 0) this.#heldBytes.set(peer, held)
    else this.#heldBytes.delete(peer)
  }

  /** Renewals and margin as configured, but always well inside a short lease. */
  #tenureOf(leaseMs: number): { renewMs: number; marginMs: number } {
    const { renewMs, marginMs } = this.#options.tenure
    return { renewMs: Math.min(renewMs, leaseMs * 0.3), marginMs: Math.min(marginMs, leaseMs * 0.1) }
  }

  /** @throws MeshError E_REPLAYED when this epoch of the task, or a later one, was accepted before */
  #accept(bind: manyhands.Bind.$Properties, peer: string): { order: Order; durable: Promise<unknown> } {
    const { net, defaults, journal } = this.#options
    const order = orderOf(bind, { self: net.self, peer, defaults })
    checkLimits(order.limits, this.#options.ceilings, 'Cannot accept the task')
    const key = epochKey(order)
    const row = journal.get('tenure', key)
    const seen = Math.max(
      this.#epochs.get(key) ?? 0,
      row === undefined ? 0 : (manyhands.TenureRow.decode(row).epoch ?? 0),
    )
    if (order.epoch <= seen) {
      this.#options.note('refused a replayed bind', { peer, task: order.task, epoch: order.epoch, seen })
      throw new MeshError(
        'E_REPLAYED',
        `Cannot accept the task: epoch ${order.epoch} is not above ${seen}, seen before`,
      )
    }
    this.#epochs.set(key, order.epoch)
    const value = manyhands.TenureRow.encode({ epoch: order.epoch, atMs: Date.now() }).finish()
    // Only the result waits for it, and brings a record of its own
    const writes = [{ table: 'tenure', key, value }]
    const durable = journal.append({ type: 'tenure.bound', body: value, writes }, 'soon')
    durable.catch(() => undefined)
    return { order, durable }
  }

  #resume({ delegator, task, epoch }: Order): Channel | undefined {
    const { net } = this.#options
    if (!net.isConnected(delegator)) return undefined
    const opening = manyhands.Resume.encode({ taskId: task, epoch }).finish()
    try {
      return net.openChannel(delegator, RESUME_CHANNEL, opening)
    } catch {
      // The connection is being made or has no room; it is tried again
      return undefined
    }
  }
}

function epochKey(order: Pick<Order, 'delegator' | 'task'>): string {
  return `${order.delegator}/${order.task}`
}
