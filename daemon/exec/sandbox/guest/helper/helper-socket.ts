import { MeshError } from '../../../../../protocol/errors.ts'
import { LIMITS } from '../../../../../protocol/limits.ts'
import { ByteQueue, keepBytes } from '../byte-queue.ts'
import { errnoError } from '../errno.ts'
import type { ByteDuplex } from '../guest-connection.ts'
import { type Channel, type ChannelEnd, type Link, lostError } from './link.ts'
import { END_HOW, OUT_OVER, TO_GUEST } from './wire.ts'

/** Connects to a port on the guest's loopback. @throws MeshError E_UNREACHABLE, E_CANCELED, E_SANDBOX_LOST */
export function dialPort(link: Link, port: number, signal: AbortSignal | undefined): Promise<ByteDuplex> {
  if (!Number.isInteger(port) || port < 1 || port > 0xffff) {
    throw new MeshError('E_BAD_REQUEST', `Cannot connect to port ${port}: it must be 1 to 65535`)
  }
  return new Promise((resolve, reject) => {
    const socket = new GuestSocket(link, port, resolve, reject)
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

class GuestSocket implements ByteDuplex {
  readonly readable: AsyncIterable<Uint8Array>
  readonly closed: Promise<void>
  readonly #channel: Channel
  readonly #queue: ByteQueue<Uint8Array>
  #ended = false

  constructor(link: Link, port: number, opened: (socket: GuestSocket) => void, failed: (error: Error) => void) {
    const body = Buffer.alloc(6)
    body.writeUInt32LE(LIMITS.guestWindowBytes, 0)
    body.writeUInt16LE(port, 4)
    let resolveClosed = (): void => {}
    this.closed = new Promise((resolve) => {
      resolveClosed = resolve
    })
    this.#queue = new ByteQueue<Uint8Array>(
      (bytes) => bytes.length,
      (bytes) => this.#channel.took(bytes),
      () => this.close(),
    )
    this.readable = this.#queue
    const onEnd = (end: ChannelEnd): void => {
      failed(socketError(end, port))
      this.#queue.end()
      resolveClosed()
    }
    this.#channel = link.open(
      TO_GUEST.dial,
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

  async write(bytes: Uint8Array): Promise<void> {
    if (this.#ended || !(await this.#channel.write(bytes))) {
      throw new MeshError('E_CONFLICT', 'Cannot write to the connection: it is closed')
    }
  }

  end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#channel.send(TO_GUEST.data, 1)
  }

  close(): void {
    this.#ended = true
    this.#channel.close()
  }
}

function socketError(end: ChannelEnd, port: number): MeshError {
  if (end.how === END_HOW.failed) return errnoError(end.number, `Cannot connect to port ${port} of the sandbox`)
  if (end.how === END_HOW.full) return new MeshError('E_OVERLOADED', 'The agent in the sandbox has too much open')
  return lostError(end.error)
}
