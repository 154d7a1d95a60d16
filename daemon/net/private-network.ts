/**
 * The private network: nothing of a mesh is spoken before both sides have shown that they hold its pre-shared key.
 *
 * Each side sends, in this order:
 *   nonce   32 bytes, random
 *   tag     32 bytes, derived from the key and both nonces; different for the two directions
 *   data    everything else, encrypted by AES-256 in counter mode
 * `tag`, cipher key and counter start of each direction come from HKDF-SHA256(key, salt = dialer's nonce || listener's nonce, info = the name below).
 * Nothing is delivered before the tag was compared, so a peer without the key reaches no parser at all. Neither side waits for the other's tag before
 * it sends, so this costs half a round trip more than a plain connection.
 *
 * It keeps strangers out and hides what is spoken from them. It proves no identity and authenticates no byte: noise does, inside.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto'
import type {
  AbortOptions,
  ConnectionProtector,
  MultiaddrConnection,
  StreamCloseEvent,
  StreamMessageEvent,
} from '@libp2p/interface'
import { AbstractMultiaddrConnection, type SendResult } from '@libp2p/utils'
import type { Uint8ArrayList } from 'uint8arraylist'
import { MeshError } from '../../protocol/errors.ts'

const KEY_NAME = 'manyhands/private-network/1'
const NONCE_BYTES = 32
const TAG_BYTES = 32
const CIPHER = 'aes-256-ctr'
const CIPHER_KEY_BYTES = 32
const COUNTER_BYTES = 16
const DIRECTION_BYTES = TAG_BYTES + CIPHER_KEY_BYTES + COUNTER_BYTES

export const NETWORK_KEY_BYTES = 32

/** One direction's secrets. */
interface Secrets {
  readonly tag: Uint8Array
  readonly key: Uint8Array
  readonly counter: Uint8Array
}

/** @throws MeshError E_CONFIG when the key has another length */
export function privateNetwork(networkKey: Uint8Array): () => ConnectionProtector {
  if (networkKey.length !== NETWORK_KEY_BYTES) {
    throw new MeshError(
      'E_CONFIG',
      `Setting up the private network: the key has ${networkKey.length} bytes, ${NETWORK_KEY_BYTES} are needed`,
    )
  }
  return () => ({ protect: (connection, options) => protect(networkKey, connection as MultiaddrConnection, options) })
}

async function protect(
  networkKey: Uint8Array,
  connection: MultiaddrConnection,
  options: AbortOptions = {},
): Promise<MultiaddrConnection> {
  const nonce = randomBytes(NONCE_BYTES)
  connection.send(nonce)
  const theirs = await readNonce(connection, options.signal)
  const dialed = connection.direction === 'outbound'
  const [dialer, listener] = deriveSecrets(networkKey, dialed ? nonce : theirs.nonce, dialed ? theirs.nonce : nonce)
  return new ProtectedConnection(connection, dialed ? dialer : listener, dialed ? listener : dialer, theirs.rest)
}

function deriveSecrets(networkKey: Uint8Array, dialerNonce: Uint8Array, listenerNonce: Uint8Array): [Secrets, Secrets] {
  const salt = Buffer.concat([dialerNonce, listenerNonce])
  const bytes = new Uint8Array(hkdfSync('sha256', networkKey, salt, KEY_NAME, 2 * DIRECTION_BYTES))
  const cut = (at: number): Secrets => ({
    tag: bytes.subarray(at, at + TAG_BYTES),
    key: bytes.subarray(at + TAG_BYTES, at + TAG_BYTES + CIPHER_KEY_BYTES),
    counter: bytes.subarray(at + TAG_BYTES + CIPHER_KEY_BYTES, at + DIRECTION_BYTES),
  })
  return [cut(0), cut(DIRECTION_BYTES)]
}

/** The first bytes of a connection, and what came after them. */
function readNonce(
  connection: MultiaddrConnection,
  signal: AbortSignal | undefined,
): Promise<{ nonce: Uint8Array; rest: Uint8Array }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ nonce: Uint8Array; rest: Uint8Array }>()
  let got = Buffer.alloc(0)
  const onMessage = (event: StreamMessageEvent) => {
    got = Buffer.concat([got, event.data.subarray()])
    if (got.length < NONCE_BYTES) return
    // before anything else is dispatched: what follows belongs to the protected connection
    connection.pause()
    resolve({ nonce: got.subarray(0, NONCE_BYTES), rest: got.subarray(NONCE_BYTES) })
  }
  const onClose = (event: StreamCloseEvent) =>
    reject(event.error ?? new Error('The connection closed before a nonce came'))
  const onAbort = () => reject(signal?.reason)
  connection.addEventListener('message', onMessage)
  connection.addEventListener('close', onClose)
  signal?.addEventListener('abort', onAbort)
  if (signal?.aborted) onAbort()
  return promise.finally(() => {
    connection.removeEventListener('message', onMessage)
    connection.removeEventListener('close', onClose)
    signal?.removeEventListener('abort', onAbort)
  })
}

class ProtectedConnection extends AbstractMultiaddrConnection {
  readonly #inner: MultiaddrConnection
  readonly #encrypt
  readonly #decrypt
  readonly #expected: Uint8Array
  /** The tag as far as it came; undefined once it was right */
  #tag: Buffer | undefined = Buffer.alloc(0)

  constructor(inner: MultiaddrConnection, ours: Secrets, theirs: Secrets, early: Uint8Array) {
    super({ log: inner.log.newScope('private'), direction: inner.direction, remoteAddr: inner.remoteAddr })
    this.#inner = inner
    this.#encrypt = createCipheriv(CIPHER, ours.key, ours.counter)
    this.#decrypt = createDecipheriv(CIPHER, theirs.key, theirs.counter)
    this.#expected = theirs.tag
    inner.addEventListener('drain', () => this.onMuxerDrain())
    inner.addEventListener('close', (event) => this.#onClose(event))
    inner.addEventListener('message', (event) => this.#onMessage(event.data))
    if (inner.status === 'open') inner.send(ours.tag)
    if (early.length > 0) this.#onBytes(early)
    if (inner.status === 'open') inner.resume()
    // it may have ended before the listeners were there
    if (inner.status !== 'open') queueMicrotask(() => this.onTransportClosed())
  }

  #onMessage(data: Uint8Array | Uint8ArrayList): void {
    if (data instanceof Uint8Array) return this.#onBytes(data)
    for (const part of data) this.#onBytes(part)
  }

  #onBytes(bytes: Uint8Array): void {
    const data = this.#tag === undefined ? bytes : this.#checkTag(Buffer.concat([this.#tag, bytes]))
    if (data.length > 0) this.onData(this.#decrypt.update(data))
  }

  /** What follows the tag; nothing while it is not complete or when it is wrong. */
  #checkTag(got: Buffer): Uint8Array {
    if (this.status !== 'open') return new Uint8Array()
    if (got.length < TAG_BYTES) {
      this.#tag = got
      return new Uint8Array()
    }
    if (!timingSafeEqual(got.subarray(0, TAG_BYTES), this.#expected)) {
      this.abort(new MeshError('E_NOT_MEMBER', 'Connecting: the other side does not hold the key of this network'))
      return new Uint8Array()
    }
    this.#tag = undefined
    return got.subarray(TAG_BYTES)
  }

  #onClose(event: StreamCloseEvent): void {
    if (event.error === undefined) this.onTransportClosed()
    else if (event.local) this.abort(event.error)
    else this.onRemoteReset()
  }

  override async sendClose(options?: AbortOptions): Promise<void> {
    await this.#inner.close(options)
  }

  /** One piece at a time: what was not taken is offered again after a drain. */
  override sendData(data: Uint8ArrayList): SendResult {
    const piece = joined(data)
    return { sentBytes: piece.length, canSendMore: this.#inner.send(this.#encrypt.update(piece)) }
  }

  override sendReset(error: Error): void {
    this.#inner.abort(error)
  }

  override sendPause(): void {
    this.#inner.pause()
  }

  override sendResume(): void {
    this.#inner.resume()
  }
}

/** Larger pieces cost more for each byte, as the memory they are encrypted into is asked of the system each time. */
const PIECE_BYTES = 64 << 10
/** Parts are joined here before they are encrypted into memory of their own: one for the process is enough, as nothing keeps it. */
const scratch = Buffer.allocUnsafeSlow(PIECE_BYTES)

/** The first bytes as one piece, valid until the next call. */
function joined(data: Uint8ArrayList): Uint8Array {
  let at = 0
  for (const part of data) {
    const room = PIECE_BYTES - at
    scratch.set(part.length > room ? part.subarray(0, room) : part, at)
    at += Math.min(part.length, room)
    if (at === PIECE_BYTES) break
  }
  return scratch.subarray(0, at)
}
