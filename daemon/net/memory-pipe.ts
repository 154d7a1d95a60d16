import { MeshError } from '../../protocol/errors.ts'
import { Fifo } from './fifo.ts'
import type { ByteStream } from './mesh-net.ts'
import type { Scheduler } from './scheduler.ts'
import type { Wire, WireEvents } from './wire.ts'

/** Bytes that may be on the way before the writer has to wait: as a transport's own window does. */
const WINDOW_BYTES = 256 << 10

export interface MemoryPipeInit {
  readonly scheduler: Scheduler
  readonly delay: () => number
  readonly reaches: () => boolean
  /** The pipe has something to deliver and cannot: it wants `release` when that may have changed */
  readonly stalled: (pipe: MemoryPipe) => void
}

type Item = { readonly bytes: Uint8Array } | { readonly end: Error | undefined }

/**
 * One direction of a stream: what goes in comes out later, in order. While bytes do not get through they wait, and everything behind them, as on a
 * connection whose packets are sent again and again; `release` lets them go on.
 */
export class MemoryPipe {
  readonly #init: MemoryPipeInit
  readonly #way = new Fifo<{ readonly item: Item; readonly at: number }>()
  #out: ((item: Item) => void) | undefined
  #lastAt = 0
  #inFlight = 0
  #pumping = false
  onRoom: () => void = () => undefined

  constructor(init: MemoryPipeInit) {
    this.#init = init
  }

  get hasRoom(): boolean {
    return this.#inFlight < WINDOW_BYTES
  }

  /** Delivers to `out`, also what came before. The reader calls `consumed` for every byte. */
  read(out: (item: Item) => void): void {
    this.#out = out
    this.release()
  }

  consumed(bytes: number): void {
    const full = !this.hasRoom
    this.#inFlight -= bytes
    if (full && this.hasRoom) this.onRoom()
  }

  write(item: Item): void {
    if ('bytes' in item) this.#inFlight += item.bytes.length
    this.#lastAt = Math.max(this.#lastAt, this.#init.scheduler.now() + this.#init.delay())
    this.#way.push({ item, at: this.#lastAt })
    this.release()
  }

  /** Looks again whether bytes get through. */
  release(): void {
    if (this.#pumping) return
    const next = this.#way.peek()
    if (next === undefined || this.#out === undefined) return
    if (!this.#init.reaches()) return this.#init.stalled(this)
    this.#pumping = true
    const wait = next.at - this.#init.scheduler.now()
    const pump = () => this.#pump()
    if (wait > 0) this.#init.scheduler.after(wait, pump)
    else this.#init.scheduler.soon(pump)
  }

  #pump(): void {
    const now = this.#init.scheduler.now()
    // a timer may fire a fraction early
    for (
      let next = this.#way.peek();
      next !== undefined && next.at <= now + 1 && this.#init.reaches();
      next = this.#way.peek()
    ) {
      this.#way.shift()
      this.#out?.(next.item)
    }
    this.#pumping = false
    this.release()
  }
}

/** Two ends of a wire over two pipes. */
export function memoryWirePair(there: MemoryPipe, back: MemoryPipe): [Wire, Wire] {
  return [new MemoryWire(there, back), new MemoryWire(back, there)]
}

class MemoryWire implements Wire {
  readonly #out: MemoryPipe
  readonly #in: MemoryPipe
  #events: WireEvents | undefined
  #over = false
  #closedWith: { error: Error | undefined } | undefined

  constructor(out: MemoryPipe, into: MemoryPipe) {
    this.#out = out
    this.#in = into
  }

  bulkRoom(): number {
    return this.writable ? Number.POSITIVE_INFINITY : 0
  }

  get writable(): boolean {
    return !this.#over && this.#out.hasRoom
  }

  send(bytes: Uint8Array): boolean {
    if (this.#over) return false
    this.#out.write({ bytes })
    return this.#out.hasRoom
  }

  attach(events: WireEvents): void {
    this.#events = events
    if (this.#closedWith !== undefined) return events.closed(this.#closedWith.error)
    this.#out.onRoom = () => events.drain()
    this.#in.read((item) => {
      if (this.#over) return
      if ('end' in item) return this.#close(item.end)
      this.#in.consumed(item.bytes.length)
      events.data(item.bytes)
    })
  }

  abort(reason: Error): void {
    if (this.#over) return
    this.#out.write({ end: reason })
    this.#close(reason)
  }

  #close(error: Error | undefined): void {
    if (this.#over) return
    this.#over = true
    this.#closedWith = { error }
    this.#events?.closed(error)
  }
}

interface End {
  readonly id: string
  /** From this end to the other */
  readonly pipe: MemoryPipe
}

/** Two ends of a byte stream. */
export function memoryStreamPair(a: End, b: End): [ByteStream, ByteStream] {
  return [new MemoryStream(b.id, a.pipe, b.pipe), new MemoryStream(a.id, b.pipe, a.pipe)]
}

class MemoryStream implements ByteStream {
  readonly peer: string
  readonly #out: MemoryPipe
  readonly #in: MemoryPipe
  readonly #queue: Uint8Array[] = []
  #wake: () => void = () => undefined
  #roomWaiters: (() => void)[] = []
  #error: Error | undefined
  #remoteEnded = false
  #ended = false

  constructor(peer: string, out: MemoryPipe, into: MemoryPipe) {
    this.peer = peer
    this.#out = out
    this.#in = into
    out.onRoom = () => this.#wakeWriters()
    into.read((item) => {
      if ('bytes' in item) this.#queue.push(item.bytes)
      else if (item.end === undefined) this.#remoteEnded = true
      else this.#fail(item.end)
      this.#wake()
    })
  }

  async write(chunk: Uint8Array, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted()
    while (!this.#out.hasRoom && this.#error === undefined) await this.#room(signal)
    if (this.#error !== undefined) throw lost(this.#error)
    if (this.#ended) throw new MeshError('E_CONFLICT', 'Writing to a stream: its writing half was ended')
    this.#out.write({ bytes: chunk.slice() })
  }

  async end(): Promise<void> {
    if (this.#ended) return
    this.#ended = true
    this.#out.write({ end: undefined })
  }

  async *chunks(): AsyncIterable<Uint8Array> {
    for (;;) {
      const chunk = this.#queue.shift()
      if (chunk !== undefined) {
        this.#in.consumed(chunk.length)
        yield chunk
      } else if (this.#error !== undefined) throw lost(this.#error)
      else if (this.#remoteEnded) return
      else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve
        })
      }
    }
  }

  abort(error: Error): void {
    if (this.#error !== undefined) return
    if (!(this.#ended && this.#remoteEnded)) this.#out.write({ end: new Error('The stream was reset by the peer') })
    this.#fail(error)
    this.#wake()
  }

  #fail(error: Error): void {
    this.#error ??= error
    this.#queue.length = 0
    this.#wakeWriters()
  }

  async #room(signal: AbortSignal | undefined): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const onAbort = () => reject(signal?.reason)
    signal?.addEventListener('abort', onAbort, { once: true })
    this.#roomWaiters.push(resolve)
    await promise.finally(() => signal?.removeEventListener('abort', onAbort))
  }

  #wakeWriters(): void {
    for (const wake of this.#roomWaiters.splice(0)) wake()
  }
}

function lost(cause: Error): MeshError {
  return cause instanceof MeshError
    ? cause
    : new MeshError('E_UNREACHABLE', 'The stream to the peer was lost', { cause })
}
