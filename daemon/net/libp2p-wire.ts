import { setTimeout as sleep } from 'node:timers/promises'
import type { Stream, StreamCloseEvent, StreamMessageEvent } from '@libp2p/interface'
import type { BulkPace } from './bulk-pace.ts'
import { FIRST_LOOK_MS, LAST_LOOK_MS, OnTheWay } from './on-the-way.ts'
import type { Wire, WireEvents } from './wire.ts'

/**
 * A control stream over a libp2p stream. What the peer sends is bounded by credit above, so it is never paused here. What can wait is sent no further ahead than
 * bulk-pace.ts says: on a slow link renewals would stand behind a whole window of results, and leases end.
 */
export class Libp2pWire implements Wire {
  readonly #stream: Stream
  readonly #pace: BulkPace
  readonly #onTheWay: OnTheWay
  #sentBytes = 0
  #looking = false
  #events: WireEvents | undefined
  #closed = false

  /** @param pace of the connection */
  constructor(stream: Stream, pace: BulkPace) {
    this.#stream = stream
    this.#pace = pace
    this.#onTheWay = new OnTheWay(stream)
  }

  get writable(): boolean {
    return this.#stream.writeStatus === 'writable' && !this.#stream.writableNeedsDrain
  }

  bulkRoom(): number {
    if (!this.writable) return 0
    const room = this.#room
    if (room === 0) void this.#lookForRoom()
    return room
  }

  /** Half of what may be on the way at least, as the peer withholds credit. */
  get #room(): number {
    const room = this.#pace.bytes - this.#onTheWay.bytes
    return room >= this.#pace.bytes / 2 ? room : 0
  }

  async #lookForRoom(): Promise<void> {
    if (this.#looking) return
    this.#looking = true
    const start = performance.now()
    const taken = (): number => this.#sentBytes - this.#onTheWay.bytes
    const before = taken()
    for (let pause = FIRST_LOOK_MS; this.#room === 0 && !this.#closed; pause = Math.min(pause * 1.5, LAST_LOOK_MS))
      await sleep(pause)
    this.#looking = false
    if (this.#closed) return
    this.#pace.took(taken() - before, performance.now() - start)
    this.#events?.drain()
  }

  send(bytes: Uint8Array): boolean {
    this.#sentBytes += bytes.byteLength
    try {
      return this.#stream.send(bytes)
    } catch {
      // it ended between two events; `closed` says so
      return false
    }
  }

  attach(events: WireEvents): void {
    const stream = this.#stream
    this.#events = events
    const close = (error: Error | undefined) => {
      if (this.#closed) return
      this.#closed = true
      events.closed(error)
    }
    stream.addEventListener('drain', () => events.drain())
    stream.addEventListener('close', (event: StreamCloseEvent) => close(event.error))
    // half a control stream is of no use
    stream.addEventListener('remoteCloseWrite', () => this.abort(new Error('The peer ended its control stream')))
    stream.addEventListener('message', (event: StreamMessageEvent) => {
      if (event.data instanceof Uint8Array) return events.data(event.data)
      for (const part of event.data) if (!this.#closed) events.data(part)
    })
    if (stream.status !== 'open' || stream.remoteWriteStatus === 'closed') queueMicrotask(() => close(undefined))
  }

  abort(reason: Error): void {
    this.#stream.abort(reason)
  }
}
