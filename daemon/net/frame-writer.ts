import { Writer } from 'protobufjs/minimal.js'
import { manyhands } from '../../proto/gen/wire.js'
import type { Scheduler } from './scheduler.ts'
import type { Wire } from './wire.ts'

export type FrameToSend = manyhands.Frame.$Properties

/** Small messages pulled from channels leave together up to this size. */
const BULK_CHUNK_BYTES = 64 << 10
/** Above this, messages of channels wait in their channel, so that what is urgent does not stand behind them. */
const CONGESTED_BYTES = 256 << 10
/** How long a frame that need not hurry waits for one that does, milliseconds: each write wakes the peer's process. */
const LINGER_MS = 10

/** What a channel offers the writer: its messages, pulled one at a time when there is room. */
export interface FrameSource {
  /** The next frame that may leave now, or undefined. */
  nextFrame(): FrameToSend | undefined
}

/**
 * Writes frames to a wire. Frames posted in one tick leave as one write. Two classes:
 * (1) posted frames (requests, replies, faults, credit, small messages) leave first, in order;
 * (2) sources are asked round robin, one write at a time, only while the wire has room for bulk and nothing of class 1 waits.
 * So a posted frame waits for at most one frame of class 2, and memory held here is bounded by the owner through `queuedBytes`.
 * Frames that linger keep their place, and leave with the next one that does not. Before `attach` frames wait.
 */
export class FrameWriter {
  readonly #scheduler: Scheduler
  #wire: Wire | undefined
  #batch = new Writer()
  #sources = new Set<FrameSource>()
  #due = false
  /** Cancels the timer of what lingers */
  #cancelLinger: (() => void) | undefined

  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler
  }

  /** Bytes posted and not yet handed to the wire. */
  get queuedBytes(): number {
    return this.#batch.len
  }

  get congested(): boolean {
    return this.#batch.len > CONGESTED_BYTES || this.#wire?.bulkRoom() === 0
  }

  attach(wire: Wire): void {
    this.#wire = wire
    this.flush()
  }

  post(frame: FrameToSend, lingers = false): void {
    manyhands.Frame.encodeDelimited(frame, this.#batch)
    this.#schedule(lingers)
  }

  /** The source has frames; it is asked until it gives none. */
  ready(source: FrameSource, lingers = false): void {
    this.#sources.add(source)
    this.#schedule(lingers)
  }

  remove(source: FrameSource): void {
    this.#sources.delete(source)
  }

  flush(): void {
    this.#due = false
    this.#cancelLinger?.()
    this.#cancelLinger = undefined
    const wire = this.#wire
    if (!wire?.writable) return
    if (this.#batch.len > 0) {
      const bytes = this.#batch.finish()
      this.#batch = new Writer()
      if (!wire.send(bytes)) return
    }
    while (this.#sources.size > 0) {
      const room = wire.bulkRoom()
      const bytes = room > 0 ? this.#pull(Math.min(room, BULK_CHUNK_BYTES)) : undefined
      if (bytes === undefined || !wire.send(bytes)) return
    }
  }

  #schedule(lingers: boolean): void {
    if (this.#due || this.#wire === undefined) return
    if (lingers) {
      this.#cancelLinger ??= this.#scheduler.after(LINGER_MS, () => this.flush())
      return
    }
    this.#due = true
    this.#scheduler.soon(() => this.flush())
  }

  /** One large message, or small ones of several channels. */
  #pull(most: number): Uint8Array | undefined {
    const chunk = new Writer()
    for (const source of this.#sources) {
      const frame = source.nextFrame()
      // asked again after the others
      this.#sources.delete(source)
      if (frame === undefined) continue
      this.#sources.add(source)
      manyhands.Frame.encodeDelimited(frame, chunk)
      if (chunk.len >= most) break
    }
    return chunk.len === 0 ? undefined : chunk.finish()
  }
}
