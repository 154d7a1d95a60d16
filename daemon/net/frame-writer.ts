import { Writer } from 'protobufjs/minimal.js'
import { manyhands } from '../../proto/gen/wire.js'
import type { Scheduler } from './scheduler.ts'
import type { Wire } from './wire.ts'

export type FrameToSend = manyhands.Frame.$Properties

/** Small messages pulled from channels leave together up to this size. */
const BULK_CHUNK_BYTES = 64 << 10
/** Above this, messages of channels wait in their channel, so that what is urgent does not stand behind them. */
const CONGESTED_BYTES = 256 << 10

/** What a channel offers the writer: its messages, pulled one at a time when there is room. */
export interface FrameSource {
  /** The next frame that may leave now, or undefined. */
  nextFrame(): FrameToSend | undefined
}

/**
 * Writes frames to a wire. Frames posted in one tick leave as one write. Two classes:
 * (1) posted frames (requests, replies, faults, credit, small messages) leave first, in order;
 * (2) sources are asked round robin, one write at a time, only while the wire takes bytes and nothing of class 1 waits.
 * So a posted frame waits for at most one frame of class 2, and memory held here is bounded by the owner through `queuedBytes`.
 * Before `attach` frames wait.
 */
export class FrameWriter {
  readonly #scheduler: Scheduler
  #wire: Wire | undefined
  #batch = new Writer()
  #sources = new Set<FrameSource>()
  #due = false

  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler
  }

  /** Bytes posted and not yet handed to the wire. */
  get queuedBytes(): number {
    return this.#batch.len
  }

  get congested(): boolean {
    return this.#batch.len > CONGESTED_BYTES || (this.#wire !== undefined && !this.#wire.writable)
  }

  attach(wire: Wire): void {
    this.#wire = wire
    this.flush()
  }

  post(frame: FrameToSend): void {
    manyhands.Frame.encodeDelimited(frame, this.#batch)
    this.#schedule()
  }

  /** The source has frames; it is asked until it gives none. */
  ready(source: FrameSource): void {
    this.#sources.add(source)
    this.#schedule()
  }

  remove(source: FrameSource): void {
    this.#sources.delete(source)
  }

  flush(): void {
    this.#due = false
    const wire = this.#wire
    if (!wire?.writable) return
    let room = true
    if (this.#batch.len > 0) {
      const bytes = this.#batch.finish()
      this.#batch = new Writer()
      room = wire.send(bytes)
    }
    while (room && this.#sources.size > 0) {
      const bytes = this.#pull()
      if (bytes === undefined) return
      room = wire.send(bytes)
    }
  }

  #schedule(): void {
    if (this.#due || this.#wire === undefined) return
    this.#due = true
    this.#scheduler.soon(() => this.flush())
  }

  /** One large message, or small ones of several channels. */
  #pull(): Uint8Array | undefined {
    const chunk = new Writer()
    for (const source of this.#sources) {
      const frame = source.nextFrame()
      // asked again after the others
      this.#sources.delete(source)
      if (frame === undefined) continue
      this.#sources.add(source)
      manyhands.Frame.encodeDelimited(frame, chunk)
      if (chunk.len >= BULK_CHUNK_BYTES) break
    }
    return chunk.len === 0 ? undefined : chunk.finish()
  }
}
