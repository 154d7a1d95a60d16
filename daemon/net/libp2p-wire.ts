import type { Stream, StreamCloseEvent, StreamMessageEvent } from '@libp2p/interface'
import type { Wire, WireEvents } from './wire.ts'

/** A control stream over a libp2p stream. What the peer sends is bounded by credit above, so it is never paused here. */
export class Libp2pWire implements Wire {
  readonly #stream: Stream
  #closed = false

  constructor(stream: Stream) {
    this.#stream = stream
  }

  get writable(): boolean {
    return this.#stream.writeStatus === 'writable' && !this.#stream.writableNeedsDrain
  }

  send(bytes: Uint8Array): boolean {
    try {
      return this.#stream.send(bytes)
    } catch {
      // it ended between two events; `closed` says so
      return false
    }
  }

  attach(events: WireEvents): void {
    const stream = this.#stream
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
