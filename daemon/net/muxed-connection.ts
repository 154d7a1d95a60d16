import { type MessageStream, type MessageStreamEvents, StreamMessageEvent } from '@libp2p/interface'
import { Uint8ArrayList } from 'uint8arraylist'
import { MeshError } from '../../protocol/errors.ts'
import type { FrameGuard } from './frame-guard.ts'
import { WithheldCredit } from './withheld-credit.ts'

/** Above this nothing is gained by waiting for more. */
const FLUSH_BYTES = 128 << 10
/** Up to this size copying the parts together is cheaper than encrypting them one by one. */
const JOIN_BYTES = 24 << 10
/**
 * What may wait for ends of streams to be delivered, bytes. An honest peer ends no more streams at a time than it may have open, so that it stays far
 * below; one that floods with ends, each of which takes a turn, would fill the memory.
 */
const MAX_WAITING_BYTES = 16 << 20
/** What keeping a part costs beside its bytes: a peer may send its bytes one by one. */
const PART_BYTES = 256
/** Type of the yamux frame that says good-bye: the connection is closed right after it. */
const TYPE_GO_AWAY = 3

/**
 * The connection as the muxer sees it.
 * Outward, what it sends in one turn of the event loop is joined, as a muxer frame alone costs an encryption and a system call. Sent at the end of the turn
 * at the latest, so nothing waits for more to come, except small credit for data that was read.
 * Inward, every byte passes the guard, and a frame that ends a stream is delivered one turn after what came before it: the library loses data that comes
 * together with the end of a stream whose protocol is still being agreed on.
 */
export function muxedConnection(connection: MessageStream, guard: FrameGuard): MessageStream {
  const outbox = new Outbox(connection)
  const send = (data: Uint8Array | Uint8ArrayList): boolean => outbox.send(data)
  const addEventListener = (
    type: keyof MessageStreamEvents,
    listener: EventListener,
    options?: AddEventListenerOptions,
  ): void => {
    if (type === 'message') new Inbox(connection, guard, listener)
    else connection.addEventListener(type, listener, options)
  }
  const own: Record<PropertyKey, unknown> = { send, addEventListener }
  return new Proxy(connection, {
    get: (target, key): unknown => {
      if (Object.hasOwn(own, key)) return own[key]
      const value: unknown = Reflect.get(target, key, target)
      // methods need their own object; a function that is a property, such as `log`, has properties itself
      return typeof value === 'function' && !Object.hasOwn(target, key) ? value.bind(target) : value
    },
  })
}

type EventListener = (event: Event) => void

/** Hands the connection's bytes to the muxer. */
class Inbox {
  readonly #connection: MessageStream
  readonly #guard: FrameGuard
  readonly #listener: EventListener
  /** Not inspected yet */
  readonly #waiting: Uint8Array[] = []
  #waitingBytes = 0
  /** Last byte of a header that ends a stream: inspected, to be delivered next turn */
  #held: Uint8Array | undefined

  constructor(connection: MessageStream, guard: FrameGuard, listener: EventListener) {
    this.#connection = connection
    this.#guard = guard
    this.#listener = listener
    connection.addEventListener('message', ({ data }) => this.#receive(data))
    connection.addEventListener('close', () => this.#flush())
  }

  #receive(data: Uint8Array | Uint8ArrayList): void {
    if (data instanceof Uint8Array) this.#wait(data)
    else for (const part of data) this.#wait(part)
    if (this.#held === undefined) this.#pump()
    if (this.#waitingBytes > MAX_WAITING_BYTES) this.#refuse('too much comes behind ended streams')
  }

  #wait(part: Uint8Array): void {
    this.#waiting.push(part)
    this.#waitingBytes += part.length + PART_BYTES
  }

  #pump(): void {
    for (let part = this.#waiting.shift(); part !== undefined; part = this.#waiting.shift()) {
      this.#waitingBytes -= part.length + PART_BYTES
      const found = this.#guard.inspect(part)
      if (found.complaint !== undefined) return this.#refuse(found.complaint)
      if (!found.endsStream) {
        this.#deliver(part)
        continue
      }
      const cut = found.inspected - 1
      this.#deliver(part.subarray(0, cut))
      this.#held = part.subarray(cut, found.inspected)
      if (found.inspected < part.length) {
        const rest = part.subarray(found.inspected)
        this.#waiting.unshift(rest)
        this.#waitingBytes += rest.length + PART_BYTES
      }
      setImmediate(() => this.#release())
      return
    }
  }

  #release(): void {
    const held = this.#held
    if (held === undefined) return
    this.#held = undefined
    this.#deliver(held)
    this.#pump()
  }

  /** The connection ended: what came before is delivered before the muxer hears of it. */
  #flush(): void {
    while (this.#held !== undefined) this.#release()
  }

  #deliver(part: Uint8Array): void {
    if (part.length > 0) this.#listener(new StreamMessageEvent(part))
  }

  #refuse(complaint: string): void {
    this.#waiting.length = 0
    this.#waitingBytes = 0
    this.#connection.abort(new MeshError('E_PROTOCOL', `Reading from a peer: ${complaint}`))
  }
}

class Outbox {
  readonly #connection: MessageStream
  readonly #credit = new WithheldCredit()
  #parts: Uint8Array[] = []
  #bytes = 0
  #due = false

  constructor(connection: MessageStream) {
    this.#connection = connection
  }

  send(data: Uint8Array | Uint8ArrayList): boolean {
    if (this.#credit.hold(data)) return !this.#connection.writableNeedsDrain
    for (const frame of this.#credit.take()) this.#add(frame)
    this.#add(data)
    if (this.#bytes >= FLUSH_BYTES || isGoAway(data)) return this.#flush()
    if (!this.#due) {
      this.#due = true
      setImmediate(() => {
        this.#due = false
        this.#flush()
      })
    }
    return !this.#connection.writableNeedsDrain
  }

  #add(data: Uint8Array | Uint8ArrayList): void {
    if (data instanceof Uint8Array) this.#parts.push(data)
    else for (const part of data) this.#parts.push(part)
    this.#bytes += data.byteLength
  }

  #flush(): boolean {
    if (this.#bytes === 0) return !this.#connection.writableNeedsDrain
    const whole =
      this.#bytes > JOIN_BYTES ? new Uint8ArrayList(...this.#parts) : Buffer.concat(this.#parts, this.#bytes)
    this.#parts = []
    this.#bytes = 0
    try {
      return this.#connection.send(whole)
    } catch {
      // it ended in this turn; its close event says so
      return false
    }
  }
}

function isGoAway(data: Uint8Array | Uint8ArrayList): boolean {
  return (data instanceof Uint8Array ? data[1] : data.get(1)) === TYPE_GO_AWAY
}
