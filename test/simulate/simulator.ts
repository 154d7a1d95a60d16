/**
 * Many nodes in one process under virtual time: seeded delay, loss, partition, crash and restart. No sockets, no timers, no wall clock; the same seed gives the
 * same run. A failing run prints its seed.
 *
 * Plugging in a state machine. A node is a `SimNode`: an object whose methods the simulator calls with the virtual time (milliseconds) and an `Out`. Wrap
 * `(state, input, now) -> state + effects` machines in one, several side by side if a node has several, and translate their effects:
 *
 *   out.send(peer, message)    arrives after a random delay, or never (loss, partition, crash); order between two nodes is kept, as on one stream. A lost
 *                              message breaks the link, as a lost stream does: both sides get `linkDown` and, later, `linkUp`
 *   out.wake(inMs, tag)        `wake(tag, now)` is called then, unless the node crashed in between
 *   out.disconnect(peer)       ends the link: both sides get `linkDown`; messages under way are lost
 *
 * `start(durable, now, out)` makes the node from what it had made durable before: put into `durable` (a map that survives a crash) whatever a real node would have
 * synced before acting. Who is linked to whom is decided by the scenario (`connect`, `partition`, `heal`) and by each node's `admits(peer)`; call `relink` after
 * nodes changed whom they admit.
 *
 *   const sim = new Simulator<Message, MyNode>({ seed, create: (id) => new MyNode(id), delayMs: [1, 20], loss: 0 })
 *   sim.add('a', 'b', 'c'); sim.connectAll(); sim.run(5_000); sim.crash('a'); sim.run(1_000); sim.restart('a'); sim.run(5_000)
 *   sim.node('b')    // to inspect; `sim.call('b', (node, now, out) => ...)` to act on it; `sim.after(ms, act)` to script faults
 *
 * `member-node.ts` is an example with two machines.
 */
import { type Random, seededRandom } from './random.ts'

export interface Out<M> {
  send(to: string, message: M): void
  wake(inMs: number, tag: string): void
  disconnect(peer: string): void
}

export interface SimNode<M> {
  start(durable: Map<string, unknown>, now: number, out: Out<M>): void
  message(from: string, message: M, now: number, out: Out<M>): void
  wake(tag: string, now: number, out: Out<M>): void
  linkUp(peer: string, now: number, out: Out<M>): void
  linkDown(peer: string, now: number, out: Out<M>): void
  /** Whether a link with the peer may exist; both sides must agree. @default yes */
  admits?(peer: string): boolean
}

export interface SimOptions<N> {
  readonly seed: number
  readonly create: (id: string, random: Random) => N
  /** Least and most delay of a message. @default [1, 20] */
  readonly delayMs?: readonly [number, number]
  /** Chance that a message is lost and with it the link, as when a stream breaks: both sides get `linkDown` and link again later. @default 0 */
  readonly loss?: number
  /** Pause before a broken link is tried again. @default 500 */
  readonly relinkMs?: number
}

interface Event {
  readonly at: number
  /** Order among events of one time */
  readonly number: number
  readonly act: () => void
}

interface Host<N> {
  node: N | undefined
  /** Grows with each start: wakes and messages of an earlier life are dropped */
  life: number
  readonly durable: Map<string, unknown>
  readonly create: () => N
}

export class Simulator<M, N extends SimNode<M>> {
  readonly random: Random
  readonly #options: Required<SimOptions<N>>
  readonly #hosts = new Map<string, Host<N>>()
  /** Pairs that should be linked, by key; value: since when they are, with the earliest time of the next arrival each way */
  readonly #wanted = new Set<string>()
  readonly #links = new Map<string, { readonly born: number; readonly next: Map<string, number> }>()
  /** Side of the partition of each node; undefined: none */
  #side: ((id: string) => number) | undefined
  readonly #queue: Event[] = []
  #now = 0
  #numbers = 0
  messages = 0

  constructor(options: SimOptions<N>) {
    this.#options = { delayMs: [1, 20], loss: 0, relinkMs: 500, ...options }
    this.random = seededRandom(options.seed)
  }

  get now(): number {
    return this.#now
  }

  ids(): string[] {
    return [...this.#hosts.keys()]
  }

  /** @throws Error when it is down */
  node(id: string): N {
    const node = this.#hosts.get(id)?.node
    if (!node) throw new Error(`${id} is not running`)
    return node
  }

  isUp(id: string): boolean {
    return this.#hosts.get(id)?.node !== undefined
  }

  /** What the node made durable; survives crashes. */
  durable(id: string): Map<string, unknown> {
    const host = this.#hosts.get(id)
    if (!host) throw new Error(`${id} does not exist`)
    return host.durable
  }

  add(...ids: string[]): void {
    for (const id of ids) this.addWith(id, () => this.#options.create(id, this.random))
  }

  /** Adds a node of its own making: for what starts differently from the others. */
  addWith(id: string, create: () => N): void {
    this.#hosts.set(id, { node: undefined, life: 0, durable: new Map(), create })
    this.restart(id)
  }

  crash(id: string): void {
    const host = this.#hosts.get(id)
    if (!host?.node) return
    host.node = undefined
    host.life++
    for (const key of [...this.#links.keys()]) if (key.split(' ').includes(id)) this.#unlink(key)
  }

  restart(id: string): void {
    const host = this.#hosts.get(id)
    if (!host || host.node) return
    host.life++
    const node = host.create()
    host.node = node
    node.start(host.durable, this.#now, this.#out(id))
    this.#relink()
  }

  connect(a: string, b: string): void {
    if (a !== b) this.#wanted.add(pair(a, b))
    this.#relink()
  }

  connectAll(): void {
    const ids = this.ids()
    for (const a of ids) for (const b of ids) if (a < b) this.#wanted.add(pair(a, b))
    this.#relink()
  }

  /** Cuts every link between nodes for which `side` differs. */
  partition(side: (id: string) => number): void {
    this.#side = side
    for (const key of [...this.#links.keys()]) if (!this.#mayLink(key)) this.#unlink(key)
  }

  heal(): void {
    this.#side = undefined
    this.#relink()
  }

  isLinked(a: string, b: string): boolean {
    return this.#links.has(pair(a, b))
  }

  /** Acts on a node as its operator would. */
  call<T>(id: string, act: (node: N, now: number, out: Out<M>) => T): T {
    return act(this.node(id), this.#now, this.#out(id))
  }

  /** At a later time, e.g. to script faults. */
  after(inMs: number, act: () => void): void {
    this.#schedule(inMs, act)
  }

  /** Lets virtual time pass. @param maxEvents against machines that never rest */
  run(forMs: number, maxEvents = 5_000_000): void {
    const until = this.#now + forMs
    for (let events = 0; ; events++) {
      const first = this.#queue[0]
      if (!first || first.at > until) break
      if (events >= maxEvents) throw new Error(`more than ${maxEvents} events in ${forMs} ms`)
      popFirst(this.#queue)
      this.#now = first.at
      first.act()
    }
    this.#now = until
  }

  #out(id: string): Out<M> {
    const life = this.#hosts.get(id)?.life
    const isAlive = () => this.#hosts.get(id)?.life === life
    return {
      send: (to, message) => isAlive() && this.#send(id, to, message),
      wake: (inMs, tag) => {
        this.#schedule(inMs, () => {
          if (isAlive()) this.#hosts.get(id)?.node?.wake(tag, this.#now, this.#out(id))
        })
      },
      disconnect: (peer) => this.#unlink(pair(id, peer)),
    }
  }

  #send(from: string, to: string, message: M): void {
    const key = pair(from, to)
    const link = this.#links.get(key)
    if (!link) return
    this.messages++
    if (this.random.chance(this.#options.loss)) {
      this.#schedule(this.#delay(), () => this.#links.get(key) === link && this.#break(key))
      return
    }
    const at = Math.max(this.#now + this.#delay(), link.next.get(to) ?? 0)
    link.next.set(to, at)
    this.#schedule(at - this.#now, () => {
      if (this.#links.get(key) === link) this.#hosts.get(to)?.node?.message(from, message, this.#now, this.#out(to))
    })
  }

  #break(key: string): void {
    this.#unlink(key)
    this.#schedule(this.#options.relinkMs, () => this.#relink())
  }

  #delay(): number {
    const [least, most] = this.#options.delayMs
    return least + this.random.next() * (most - least)
  }

  #mayLink(key: string): boolean {
    const [a = '', b = ''] = key.split(' ')
    const nodeA = this.#hosts.get(a)?.node
    const nodeB = this.#hosts.get(b)?.node
    if (!nodeA || !nodeB || (this.#side && this.#side(a) !== this.#side(b))) return false
    return (nodeA.admits?.(b) ?? true) && (nodeB.admits?.(a) ?? true)
  }

  /** Makes every wanted link that may exist; called again by scenarios after nodes changed whom they admit. */
  relink(): void {
    this.#relink()
  }

  #relink(): void {
    for (const key of this.#wanted) {
      if (this.#links.has(key) || !this.#mayLink(key)) continue
      this.#links.set(key, { born: this.#now, next: new Map() })
      const [a = '', b = ''] = key.split(' ')
      this.#hosts.get(a)?.node?.linkUp(b, this.#now, this.#out(a))
      if (this.#links.has(key)) this.#hosts.get(b)?.node?.linkUp(a, this.#now, this.#out(b))
    }
  }

  #unlink(key: string): void {
    if (!this.#links.delete(key)) return
    const [a = '', b = ''] = key.split(' ')
    this.#hosts.get(a)?.node?.linkDown(b, this.#now, this.#out(a))
    this.#hosts.get(b)?.node?.linkDown(a, this.#now, this.#out(b))
  }

  #schedule(inMs: number, act: () => void): void {
    insert(this.#queue, { at: this.#now + Math.max(0, inMs), number: this.#numbers++, act })
  }
}

function pair(a: string, b: string): string {
  return a < b ? `${a} ${b}` : `${b} ${a}`
}

function isBefore(a: Event, b: Event): boolean {
  return a.at < b.at || (a.at === b.at && a.number < b.number)
}

/** Binary heap, smallest first. */
function insert(heap: Event[], event: Event): void {
  let at = heap.push(event) - 1
  for (let up = (at - 1) >> 1; at > 0; at = up, up = (at - 1) >> 1) {
    const parent = heap[up]
    if (!parent || !isBefore(event, parent)) break
    heap[at] = parent
    heap[up] = event
  }
}

function popFirst(heap: Event[]): void {
  const last = heap.pop()
  if (!last || heap.length === 0) return
  let at = 0
  for (;;) {
    const left = 2 * at + 1
    const leftEvent = heap[left]
    if (!leftEvent) break
    const rightEvent = heap[left + 1]
    const isRight = rightEvent !== undefined && isBefore(rightEvent, leftEvent)
    const child = isRight ? rightEvent : leftEvent
    if (!isBefore(child, last)) break
    heap[at] = child
    at = isRight ? left + 1 : left
  }
  heap[at] = last
}

/**
 * Runs a scenario for many seeds; the error of a failing one begins with its seed, so that `forSeeds([seed], scenario)` repeats it.
 */
export function forSeeds(seeds: readonly number[] | number, scenario: (seed: number) => void): void {
  const list = typeof seeds === 'number' ? Array.from({ length: seeds }, (_, at) => at + 1) : seeds
  for (const seed of list) {
    try {
      scenario(seed)
    } catch (error) {
      throw new Error(`seed ${seed}: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
    }
  }
}
