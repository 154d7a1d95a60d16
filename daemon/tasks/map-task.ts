/** One program over many inputs: cut into pieces, each delegated like a task of its own, spread over every able node. */
import { failureOf } from './failure.ts'
import { MeshError } from '../../protocol/errors.ts'
import { addUsage, NO_USAGE, type Usage } from '../../protocol/job.ts'
import { failureToWire } from '../../protocol/task/job-codec.ts'
import { MapPlan } from '../../protocol/task/map-plan.ts'
import type { Channel } from '../net/mesh-net.ts'
import { ActiveTask, type TaskContext } from './active-task.ts'
import type { Intent } from './intent.ts'
import { MapPiece } from './map-piece.ts'
import { NO_NODE_HINT, reasonsOf } from './mesh-placer.ts'
import type { Recovered } from './run-task.ts'
import { type MapState, progressOf, type TaskRow } from './task-row.ts'
import type { TaskSpec } from './task-spec.ts'
import type { OrderResult } from './worker.ts'

/** How often the nodes that can take pieces are looked at again, milliseconds. */
const REFRESH_MS = 250
/** Progress events at most this often, milliseconds. */
const PROGRESS_MS = 100
const STORE_RETRY_MS = 100

type PieceFields = Parameters<TaskContext['store']['pieceEnded']>[2] & { readonly node: string }

export class MapTask extends ActiveTask {
  readonly #plan = new MapPlan()
  readonly #pieces = new Map<number, MapPiece>()
  readonly #map: MapState
  readonly #count: number
  #next = 0
  #finished = 0
  /** Results that wait until the journal has room */
  #crowded = 0
  #usage: Usage = NO_USAGE
  #timer: NodeJS.Timeout | undefined
  #wake: NodeJS.Timeout | undefined
  #progressAt = 0
  #searchingSince = performance.now()
  #over = false

  constructor(
    context: TaskContext,
    row: TaskRow,
    spec: TaskSpec,
    intent: Intent,
    map: MapState,
    recovered?: Recovered,
  ) {
    super(context, row, spec, intent, {})
    this.#map = map
    this.#count = Math.ceil(map.total / map.pieceSize)
    void this.#begin(recovered)
  }

  cancel(): void {
    this.#end({ state: 'canceled', code: 'E_CANCELED', message: 'The task was canceled' })
  }

  fence(node: string): void {
    for (const piece of [...this.#pieces.values()]) piece.feed({ type: 'fenced', node })
  }

  resume(piece: number, channel: Channel, epoch: number): boolean {
    return this.#pieces.get(piece)?.resume(channel, epoch) ?? false
  }

  /** After a restart: pieces that are done are not done again; those that may be held elsewhere wait for the lease to run out. */
  async #begin(recovered: Recovered | undefined): Promise<void> {
    try {
      await this.intent.begin()
      if (recovered !== undefined) await this.#recover(recovered)
      await this.#keepLooking()
    } catch (error) {
      this.#fail(error)
    }
  }

  /** One look after the other: one that asks farther nodes takes seconds. */
  async #keepLooking(): Promise<void> {
    await this.#refresh()
    if (this.#over) return
    this.#timer = setTimeout(() => {
      this.#keepLooking().catch((error: unknown) => this.#fail(error))
    }, REFRESH_MS)
  }

  #fail(error: unknown): void {
    this.#end({ state: 'failed', ...failureOf(error) })
  }

  async #recover(recovered: Recovered): Promise<void> {
    const done = new Set<number>()
    for (let piece = 0; piece < this.#count; piece++)
      if (this.context.store.piece(this.row.id, piece) !== undefined) done.add(piece)
    this.#finished = done.size
    const wait = Math.max(0, recovered.heldUntil - performance.now())
    await new Promise((resolve) => setTimeout(resolve, wait))
    if (this.#over) return
    // One new epoch for all: whatever was given before the restart is below it.
    this.row.epoch += 1
    await this.context.store.granted(this.row)
    for (let piece = 0; piece < this.#count; piece++) if (!done.has(piece)) this.#plan.add(piece)
    this.#next = this.#count
    this.#checkDone()
  }

  async #refresh(): Promise<void> {
    if (this.#over) return
    if (this.due !== undefined && performance.now() >= this.due) {
      return this.#end({ state: 'failed', code: 'E_DEADLINE', message: 'The map did not end before its deadline' })
    }
    const { nodes, candidates } = await this.context.placer.able(this.spec.requires)
    this.#plan.setNodes(nodes)
    this.round(this.row.epoch + 1, candidates, nodes.length === 0 ? 'no node can take a piece now' : '')
    // Pieces that came back and wait are no reason to wait longer: there may be nobody left who takes them
    if (nodes.length > 0 || this.#isUnderWay) this.#searchingSince = performance.now()
    else if (performance.now() - this.#searchingSince > this.context.delegation.patienceMs) {
      return this.#end({
        state: 'failed',
        code: 'E_NO_CANDIDATE',
        message: `No node of the mesh could take a piece for too long: ${reasonsOf(candidates)}`,
        hint: NO_NODE_HINT,
      })
    }
    this.#assign()
  }

  get #isUnderWay(): boolean {
    return [...this.#pieces.values()].some((piece) => piece.isWithNode)
  }

  #assign(): void {
    if (this.#over || this.#crowded > 0) return
    // Pieces not begun are added as room comes, so that a large map costs memory only for what is under way.
    while (this.#next < this.#count && this.#plan.waiting < 64) this.#plan.add(this.#next++)
    const now = performance.now()
    for (const { piece, node } of this.#plan.assign(now, (index) => this.#pieces.get(index)?.avoid ?? [])) {
      const known = this.#pieces.get(piece)
      if (known !== undefined) known.assign(node)
      else this.#pieces.set(piece, this.#newPiece(piece, node))
    }
    const wake = this.#plan.nextWake(now)
    clearTimeout(this.#wake)
    if (wake !== undefined) this.#wake = setTimeout(() => this.#assign(), Math.max(1, wake - now))
  }

  #newPiece(index: number, node: string): MapPiece {
    const first = index * this.#map.pieceSize
    const inputs = this.spec.inputs.slice(first, first + this.#map.pieceSize)
    const id = `${this.row.id}/${index}`
    return new MapPiece({
      config: { ...this.context.delegation, leaseMs: this.row.leaseMs },
      node,
      // Epochs given before a restart are below this one.
      epoch: this.row.epoch,
      order: (epoch) => this.order(epoch, 'batch', inputs, id),
      worker: (target) => this.context.worker(target),
      grant: (epoch) => this.#grant(epoch),
      bound: (holder, epoch) => this.#onBound(holder, epoch),
      log: (line, input, holder) => this.onLog(line, first + input, holder),
      waiting: (outcome, from, retryAfterMs) => this.#onWaiting(index, outcome, from, retryAfterMs),
      accepted: (result, holder, epoch) => this.#onAccepted(index, first, result, holder, epoch),
      failed: (ending) => this.#end(ending),
      stale: (holder, epoch, code) => this.stale(holder, epoch, code),
    })
  }

  /** Epochs above the one the last durable record covers need a record of their own. */
  #grant(epoch: number): Promise<void> | undefined {
    if (epoch <= this.row.epoch + 1) return undefined
    this.row.epoch = epoch - 1
    return this.context.store.granted(this.row).then(() => undefined)
  }

  #onBound(node: string, epoch: number): void {
    if (this.row.state === 'working') return
    this.row.state = 'working'
    this.row.note = undefined
    this.emit({ type: 'state', state: 'working', lease: { node, epoch } })
    this.context.changed(this, this.view)
  }

  #onWaiting(index: number, outcome: 'refused' | 'lost', from: string, retryAfterMs?: number): void {
    if (outcome === 'lost') this.#map.retried += 1
    this.#plan.released(from, outcome, performance.now(), retryAfterMs)
    this.#plan.add(index)
    this.#assign()
  }

  async #onAccepted(index: number, first: number, result: OrderResult, node: string, epoch: number): Promise<void> {
    const { pieces } = result
    this.#usage = addUsage(this.#usage, result.usage)
    this.#plan.released(node, 'done', performance.now())
    this.#pieces.delete(index)
    const stored = this.#store(index, pieces, {
      first,
      results: pieces.map((piece) =>
        piece.ok ? { output: Buffer.from(piece.output) } : { error: failureToWire(piece.error) },
      ),
      node,
      epoch,
      receipt: Buffer.from(result.receipt),
      usage: { ...result.usage },
    })
    this.#assign()
    try {
      await Promise.all([stored, result.durable])
    } catch (error) {
      this.#fail(error)
      throw error
    }
    this.#finished += 1
    this.#progress()
    this.#checkDone()
  }

  /** A journal that has no room now has it in a moment; until then no more pieces are given out, so that what waits here stays bounded. */
  async #store(index: number, pieces: OrderResult['pieces'], row: PieceFields): Promise<void> {
    for (;;) {
      this.#tally(pieces, row.node, 1)
      try {
        await this.context.store.pieceEnded(this.row, index, row)
        return
      } catch (error) {
        if (this.#over || !(error instanceof MeshError) || error.code !== 'E_OVERLOADED') throw error
        this.#tally(pieces, row.node, -1)
        this.#crowded += 1
        await new Promise((resolve) => setTimeout(resolve, error.retryAfterMs ?? STORE_RETRY_MS))
        this.#crowded -= 1
        // Its end may be on disk by now, and is the last that is written of it
        if (this.#over) throw error
      }
    }
  }

  /** The row says what is on disk with it, so a piece that could not be stored is not counted. */
  #tally(pieces: OrderResult['pieces'], node: string, by: 1 | -1): void {
    const map = this.#map
    map.done += by * pieces.length
    map.failed += by * pieces.reduce((sum, piece) => sum + (piece.ok ? 0 : 1), 0)
    map.byNode[node] = (map.byNode[node] ?? 0) + by * pieces.length
  }

  #progress(): void {
    const now = performance.now()
    if (now - this.#progressAt < PROGRESS_MS && this.#finished < this.#count) return
    this.#progressAt = now
    this.emit({ type: 'progress', progress: progressOf(this.#map) })
  }

  #checkDone(): void {
    if (this.#finished < this.#count || this.#over) return
    this.#stop()
    this.row.usage = this.#usage
    this.conclude('completed').catch(() => undefined)
  }

  #end(ending: Parameters<ActiveTask['ending']>[0]): void {
    if (this.#over) return
    this.#stop()
    for (const piece of this.#pieces.values()) piece.feed({ type: 'cancel' })
    this.#pieces.clear()
    this.row.usage = this.#usage
    this.ending(ending)
  }

  #stop(): void {
    this.#over = true
    clearTimeout(this.#timer)
    clearTimeout(this.#wake)
  }
}
