/**
 * Looks at the headers of a yamux connection before the muxer does, and says when a peer abuses what the muxer itself allows:
 * it answers every ping and every stream beyond its limit, keeps a frame until it is complete whatever length was announced, adds up window updates
 * without bound, and ignores the end of streams that do not exist.
 * Header, 12 bytes: version, type, flags (2), stream id (4), length (4), big endian; a data frame (type 0) is followed by `length` bytes.
 * See https://github.com/hashicorp/yamux/blob/master/spec.md
 */
const HEADER_BYTES = 12
const TYPE_DATA = 0
const TYPE_WINDOW_UPDATE = 1
const TYPE_PING = 2
const FLAG_SYN = 1
const FLAG_FIN = 4

/** Largest step of a send window; our own peers open at most a few MiB. */
const MAX_WINDOW_STEP = 16 << 20
/** Pings: one every 30 s is usual. */
const PING_BURST = 32
const PINGS_PER_SECOND = 4
/** New streams: hands that open one for every small thing are held to this. */
const SYN_BURST = 1024
const SYNS_PER_SECOND = 256
/** Ended streams: each ends once, those the peer opened and those opened here, which the peer's guard holds to the same rate. */
const FIN_BURST = 4 * SYN_BURST
const FINS_PER_SECOND = 4 * SYNS_PER_SECOND

export interface FrameGuardInit {
  /** Largest data frame that the windows we give allow, bytes */
  readonly maxDataBytes: number
  /** Milliseconds; only differences mean anything */
  readonly now: () => number
}

export type Inspection =
  | { readonly complaint: string }
  | { readonly complaint?: undefined; readonly inspected: number; readonly endsStream: boolean }

export class FrameGuard {
  readonly #maxDataBytes: number
  readonly #pings: TokenBucket
  readonly #syns: TokenBucket
  readonly #fins: TokenBucket
  readonly #header = new Uint8Array(HEADER_BYTES)
  readonly #view = new DataView(this.#header.buffer)
  #headerBytes = 0
  /** Bytes of a data frame still to pass */
  #body = 0

  constructor(init: FrameGuardInit) {
    this.#maxDataBytes = init.maxDataBytes
    this.#pings = new TokenBucket(PING_BURST, PINGS_PER_SECOND, init.now)
    this.#syns = new TokenBucket(SYN_BURST, SYNS_PER_SECOND, init.now)
    this.#fins = new TokenBucket(FIN_BURST, FINS_PER_SECOND, init.now)
  }

  /**
   * Looks at the bytes up to the end of the next header that ends a stream, or all.
   * A complaint means that the connection must go: the guard's place in it is lost.
   */
  inspect(chunk: Uint8Array): Inspection {
    let at = 0
    while (at < chunk.length) {
      if (this.#body > 0) {
        const passed = Math.min(this.#body, chunk.length - at)
        this.#body -= passed
        at += passed
        continue
      }
      const part = chunk.subarray(at, at + HEADER_BYTES - this.#headerBytes)
      this.#header.set(part, this.#headerBytes)
      this.#headerBytes += part.length
      at += part.length
      if (this.#headerBytes < HEADER_BYTES) break
      this.#headerBytes = 0
      const complaint = this.#judge()
      if (complaint !== undefined) return { complaint }
      if ((this.#view.getUint16(2) & FLAG_FIN) !== 0) return { inspected: at, endsStream: true }
    }
    return { inspected: chunk.length, endsStream: false }
  }

  #judge(): string | undefined {
    const view = this.#view
    const type = view.getUint8(1)
    const flags = view.getUint16(2)
    const length = view.getUint32(8)
    if (type === TYPE_PING) return (flags & FLAG_SYN) === 0 || this.#pings.take() ? undefined : 'too many pings'
    if (type === TYPE_WINDOW_UPDATE && length > MAX_WINDOW_STEP) return 'a window grew too far'
    if (type === TYPE_DATA) {
      if (length > this.#maxDataBytes) return 'a frame is larger than its window'
      this.#body = length
    }
    if ((flags & FLAG_SYN) !== 0 && !this.#syns.take()) return 'too many new streams'
    if ((flags & FLAG_FIN) !== 0 && !this.#fins.take()) return 'too many ended streams'
    return undefined
  }
}

/** Allows `burst` at once and `perSecond` on the long run. */
class TokenBucket {
  readonly #burst: number
  readonly #perSecond: number
  readonly #now: () => number
  #tokens: number
  #at: number

  constructor(burst: number, perSecond: number, now: () => number) {
    this.#burst = burst
    this.#perSecond = perSecond
    this.#now = now
    this.#tokens = burst
    this.#at = now()
  }

  take(): boolean {
    const now = this.#now()
    this.#tokens = Math.min(this.#burst, this.#tokens + ((now - this.#at) / 1000) * this.#perSecond)
    this.#at = now
    if (this.#tokens < 1) return false
    this.#tokens--
    return true
  }
}
