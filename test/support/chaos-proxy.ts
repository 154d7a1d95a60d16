import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

/** What happens to bytes on the way through a `ChaosProxy`. Milliseconds and shares. */
export interface Chaos {
  /** One way, both directions. @default 0 */
  readonly delayMs?: number
  /** Added at random up to this much, order kept. @default 0 */
  readonly jitterMs?: number
  /** Share of chunks held back for `lossDelayMs`, as a lost packet of an ordered stream is. @default 0 */
  readonly loss?: number
  /** @default 200 */
  readonly lossDelayMs?: number
  /** Share of chunks in which one byte is changed. @default 0 */
  readonly corrupt?: number
  /** Share of chunks delivered twice. @default 0 */
  readonly duplicate?: number
  /** Bytes per second, each way. @default unlimited */
  readonly bytesPerSecond?: number
}

/** Chunks on the way, each way, before the sender has to wait. */
const MAX_QUEUED = 64

/** Which way bytes flow: from the side that dialed the proxy, or to it. */
export type Way = 'forth' | 'back'

/** A small generator of the mulberry32 kind: the same seed gives the same run. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/**
 * A TCP proxy on loopback that spoils what passes: delay, loss (as delay), corruption, duplicates, a slow link, silence in one or both directions
 * (half-open: nobody is told), resets. Settings may change while it runs and hold for connections that are open.
 */
export class ChaosProxy {
  readonly #server: Server
  readonly #target: { readonly host: string; readonly port: number }
  readonly #random: () => number
  readonly #pairs = new Set<readonly [Socket, Socket]>()
  readonly #silent = new Set<Way>()
  #chaos: Chaos = {}
  /** Bytes that came in, each way, whether delivered or not */
  readonly seen: Record<Way, number> = { forth: 0, back: 0 }

  private constructor(target: { host: string; port: number }, seed: number) {
    this.#target = target
    this.#random = seeded(seed)
    this.#server = createServer((client) => this.#accept(client))
  }

  /** Listens on a free port of 127.0.0.1. */
  static async listen(target: { host: string; port: number }, seed = 1): Promise<ChaosProxy> {
    const proxy = new ChaosProxy(target, seed)
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve))
    return proxy
  }

  /** A proxy before a TCP multiaddr such as "/ip4/127.0.0.1/tcp/4001/p2p/..." */
  static before(address: string, seed = 1): Promise<ChaosProxy> {
    const [, , host = '', , port = ''] = address.split('/')
    return ChaosProxy.listen({ host, port: Number(port) }, seed)
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  get address(): string {
    return `/ip4/127.0.0.1/tcp/${this.port}`
  }

  get open(): number {
    return this.#pairs.size
  }

  set(chaos: Chaos): void {
    this.#chaos = chaos
  }

  /** From now on bytes of these directions vanish; both ends still believe they are connected. */
  silence(...ways: Way[]): void {
    for (const way of ways.length > 0 ? ways : (['forth', 'back'] as const)) this.#silent.add(way)
  }

  /** New bytes pass again; what vanished stays lost. */
  unsilence(): void {
    this.#silent.clear()
  }

  /** Resets every open connection. */
  cut(): void {
    for (const [a, b] of this.#pairs) {
      a.resetAndDestroy()
      b.resetAndDestroy()
    }
  }

  async close(): Promise<void> {
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }

  #accept(client: Socket): void {
    const server = connect(this.#target.port, this.#target.host)
    const pair = [client, server] as const
    this.#pairs.add(pair)
    for (const socket of pair) socket.setNoDelay(true)
    this.#carry(client, server, 'forth', pair)
    this.#carry(server, client, 'back', pair)
  }

  #carry(from: Socket, to: Socket, way: Way, pair: readonly [Socket, Socket]): void {
    // one queue and one timer: timers of their own could overtake each other
    const queue: { readonly at: number; readonly parts: readonly Buffer[] }[] = []
    let timer: NodeJS.Timeout | undefined
    let lastAt = 0
    const pump = () => {
      timer = undefined
      for (let next = queue[0]; next !== undefined && next.at <= performance.now() + 1; next = queue[0]) {
        queue.shift()
        if (!to.destroyed && !this.#silent.has(way)) for (const part of next.parts) to.write(part)
      }
      const [next] = queue
      if (next !== undefined) timer = setTimeout(pump, next.at - performance.now())
      if (queue.length < MAX_QUEUED) from.resume()
    }
    from.on('data', (chunk) => {
      this.seen[way] += chunk.length
      if (this.#silent.has(way)) return
      const now = performance.now()
      const slow = this.#chaos.bytesPerSecond === undefined ? 0 : (chunk.length / this.#chaos.bytesPerSecond) * 1000
      lastAt = Math.max(lastAt + slow, now + slow + this.#delay())
      queue.push({ at: lastAt, parts: this.#spoil(chunk) })
      if (timer === undefined) pump()
      // a slow link does not read ahead for ever
      if (queue.length >= MAX_QUEUED) from.pause()
    })
    from.on('error', () => to.destroy())
    from.on('close', () => {
      this.#pairs.delete(pair)
      // silence swallows the good-bye too
      if (!this.#silent.has(way)) setTimeout(() => to.destroy(), Math.max(0, lastAt - performance.now()) + 2)
    })
  }

  #delay(): number {
    const { delayMs = 0, jitterMs = 0, loss = 0, lossDelayMs = 200 } = this.#chaos
    return (
      delayMs + (jitterMs > 0 ? this.#random() * jitterMs : 0) + (loss > 0 && this.#random() < loss ? lossDelayMs : 0)
    )
  }

  #spoil(chunk: Buffer): Buffer[] {
    const { corrupt = 0, duplicate = 0 } = this.#chaos
    if (corrupt > 0 && this.#random() < corrupt) {
      const at = Math.floor(this.#random() * chunk.length)
      chunk[at] = (chunk[at] ?? 0) ^ (1 << Math.floor(this.#random() * 8))
    }
    return duplicate > 0 && this.#random() < duplicate ? [chunk, chunk] : [chunk]
  }
}
