import type { MessageStream } from '@libp2p/interface'
import type { Uint8ArrayList } from 'uint8arraylist'

/** Above this nothing is gained by waiting for more. */
const FLUSH_BYTES = 128 << 10
/** Type of the yamux frame that says good-bye: the connection is closed right after it. */
const TYPE_GO_AWAY = 3

/**
 * The connection as the muxer sees it, with what it sends in one turn of the event loop joined: a muxer frame alone costs an encryption and a system
 * call, and the muxer answers every piece of data with a frame of its own. Sent at the end of the turn at the latest, so nothing waits for more to come.
 */
export function coalescing(connection: MessageStream): MessageStream {
  const outbox = new Outbox(connection)
  const send = (data: Uint8Array | Uint8ArrayList): boolean => outbox.send(data)
  return new Proxy(connection, {
    get: (target, key) => {
      if (key === 'send') return send
      const value: unknown = Reflect.get(target, key, target)
      // methods need their own object; a function that is a property, such as `log`, has properties itself
      return typeof value === 'function' && !Object.hasOwn(target, key) ? value.bind(target) : value
    },
  })
}

class Outbox {
  readonly #connection: MessageStream
  #parts: Uint8Array[] = []
  #bytes = 0
  #due = false

  constructor(connection: MessageStream) {
    this.#connection = connection
  }

  send(data: Uint8Array | Uint8ArrayList): boolean {
    if (data instanceof Uint8Array) this.#parts.push(data)
    else for (const part of data) this.#parts.push(part)
    this.#bytes += data.byteLength
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

  #flush(): boolean {
    if (this.#bytes === 0) return !this.#connection.writableNeedsDrain
    const whole = Buffer.concat(this.#parts, this.#bytes)
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
