import { MeshError } from '../../../../../protocol/errors.ts'
import { LIMITS } from '../../../../../protocol/limits.ts'
import { ByteQueue, keepBytes, PLAIN_PIECES } from '../byte-queue.ts'
import { errnoError } from '../errno.ts'
import type { ByteDuplex, GuestPort } from '../guest-connection.ts'
import { type Channel, type ChannelEnd, type Link, lostError } from './link.ts'
import { END_HOW, OUT_OVER, TO_GUEST, u32 } from './wire.ts'

/** Connects to a port on the guest's loopback. @throws MeshError E_UNREACHABLE, E_CANCELED, E_SANDBOX_LOST */
export function dialPort(link: Link, port: number, signal: AbortSignal | undefined): Promise<ByteDuplex> {
  checkPort(port, 'connect to')
  const body = Buffer.alloc(6)
  body.writeUInt32LE(LIMITS.guestWindowBytes, 0)
  body.writeUInt16LE(port, 4)
  return new Promise((resolve, reject) => {
    const failed = (end: ChannelEnd): void => reject(socketError(end, `connect to port ${port} of the sandbox`))
    const socket = new GuestSocket(link, { type: TO_GUEST.dial, body, opened: resolve, failed })
    if (signal === undefined) return
    const abort = (): void => {
      reject(new MeshError('E_CANCELED', 'The connection was not waited for'))
      socket.close()
    }
    if (signal.aborted) abort()
    else signal.addEventListener('abort', abort, { once: true })
    void socket.closed.then(() => signal.removeEventListener('abort', abort))
  })
}

/** Channels that wait for the next connections: so many can come at once without a round trip for each. */
const WAITING = 4
/** Connections at once from inside. Others wait in the guest, so that there is always room for commands. */
const MOST_CONNECTIONS = 128
/** Until a channel is asked for again where none was free, milliseconds */
const RETRY_MS = 100

/** @throws MeshError E_CONFLICT when the port is taken, E_BAD_REQUEST, E_OVERLOADED, E_SANDBOX_LOST */
export function listenOnPort(
  link: Link,
  port: number,
  onConnection: (connection: ByteDuplex) => void,
): Promise<GuestPort> {
  checkPort(port, 'listen on')
  const body = Buffer.alloc(2)
  body.writeUInt16LE(port)
  return new Promise((resolve, reject) => {
    const listener = new Listener(link, onConnection)
    const channel = link.open(TO_GUEST.listen, 0, body, {
      onOpened() {
        listener.begin(channel)
        resolve({ close: () => listener.close() })
      },
      onEnd(end) {
        listener.close()
        reject(socketError(end, `listen on port ${port} in the sandbox`))
      },
    })
    channel.active = false
  })
}

class Listener {
  readonly #link: Link
  readonly #onConnection: (connection: ByteDuplex) => void
  #channel: Channel | undefined
  #waiting = 0
  #open = 0
  #timer: NodeJS.Timeout | undefined

  constructor(link: Link, onConnection: (connection: ByteDuplex) => void) {
    this.#link = link
    this.#onConnection = onConnection
  }

  begin(channel: Channel): void {
    this.#channel = channel
    this.#wait()
  }

  close(): void {
    const channel = this.#channel
    this.#channel = undefined
    clearTimeout(this.#timer)
    channel?.close()
  }

  /** As many channels wait as may; where none is free, later. */
  #wait(): void {
    while (this.#waiting < WAITING && this.#waiting + this.#open < MOST_CONNECTIONS && this.#channel)
      if (!this.#one()) return this.#waitLater()
  }

  #waitLater(): void {
    if (this.#timer !== undefined) return
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.#wait()
    }, RETRY_MS)
    this.#timer.unref()
  }

  /** @returns whether there was room for it */
  #one(): boolean {
    let came = false
    try {
      const socket = new GuestSocket(this.#link, {
        type: TO_GUEST.accept,
        body: u32(LIMITS.guestWindowBytes, this.#channel?.id ?? 0),
        opened: () => {
          came = true
          this.#waiting -= 1
          this.#open += 1
          this.#onConnection(socket)
          this.#wait()
        },
        failed: () => undefined,
      })
      socket.passive()
      void socket.closed.then(() => {
        if (came) this.#open -= 1
        else this.#waiting -= 1
        if (came) this.#wait()
        else this.#waitLater()
      })
    } catch {
      // No channel is free, or the guest is lost, which ends this too
      return false
    }
    this.#waiting += 1
    return true
  }
}

function checkPort(port: number, doing: string): void {
  if (!Number.isInteger(port) || port < 1 || port > 0xffff)
    throw new MeshError('E_BAD_REQUEST', `Cannot ${doing} port ${port}: it must be 1 to 65535`)
}

interface SocketOpening {
  readonly type: number
  readonly body: Buffer
  opened(socket: GuestSocket): void
  /** It ended, opened or not */
  failed(end: ChannelEnd): void
}

class GuestSocket implements ByteDuplex {
  readonly readable: AsyncIterable<Uint8Array>
  readonly closed: Promise<void>
  readonly #channel: Channel
  readonly #queue: ByteQueue<Uint8Array>
  #ended = false

  constructor(link: Link, { type, body, opened, failed }: SocketOpening) {
    let resolveClosed = (): void => {}
    this.closed = new Promise((resolve) => {
      resolveClosed = resolve
    })
    this.#queue = new ByteQueue<Uint8Array>(
      PLAIN_PIECES,
      (bytes) => this.#channel.took(bytes),
      () => this.close(),
    )
    this.readable = this.#queue
    const onEnd = (end: ChannelEnd): void => {
      failed(end)
      this.#queue.end()
      resolveClosed()
    }
    this.#channel = link.open(
      type,
      0,
      body,
      {
        inPieces: true,
        onOpened: () => opened(this),
        onOut: (flag, bytes) => (flag === OUT_OVER ? this.#queue.end() : this.#queue.push(keepBytes(bytes))),
        onEnd,
      },
      LIMITS.guestWindowBytes,
    )
  }

  /** It does not keep the sandbox awake. */
  passive(): void {
    this.#channel.active = false
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (this.#ended || !(await this.#channel.write(bytes))) {
      throw new MeshError('E_CONFLICT', 'Cannot write to the connection: it is closed')
    }
  }

  end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#channel.finish()
  }

  close(): void {
    this.#ended = true
    this.#channel.close()
  }
}

function socketError(end: ChannelEnd, doing: string): MeshError {
  if (end.how === END_HOW.failed) return errnoError(end.number, `Cannot ${doing}`)
  if (end.how === END_HOW.full) return new MeshError('E_OVERLOADED', 'The agent in the sandbox has too much open')
  return lostError(end.error)
}
