/**
 * Membership at the edge: feeds the state machine of `protocol/membership` with what peers say, makes its decisions durable, and carries them out.
 *
 * Order: `open` (reads the journal; now `gate` answers), then the network is made with the gate, then `attach`, then the network starts. A step takes effect in
 * memory at once, so that whoever was put out is out before anything waits; the lists it sends of its own accord go out after their record is on disk. A record
 * that could not be written is tried again until it is.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { MembersView } from '../../protocol/api.ts'
import { cutText } from '../../protocol/bounded-decode.ts'
import { toMeshError } from '../../protocol/errors.ts'
import { LIMITS } from '../../protocol/limits.ts'
import { considerList } from '../../protocol/membership/consider-list.ts'
import { type Hello, METHODS } from '../../protocol/membership/hello.ts'
import * as messages from '../../protocol/membership/hello.ts'
import { chainSince, effective, holds } from '../../protocol/membership/held-lists.ts'
import type { Member, Role } from '../../protocol/membership/member-list.ts'
import {
  admitsPeer,
  isIn,
  MEMBERSHIP_DEFAULTS,
  type MembershipEffect,
  type MembershipInput,
  type MembershipState,
  startMembership,
  stepMembership,
} from '../../protocol/membership/membership.ts'
import { isNodeId } from '../../protocol/node-id.ts'
import { PLACES } from '../../protocol/placement/rank.ts'
import type { SignedBody } from '../../protocol/signing/signed.ts'
import type { Signer } from '../../protocol/signing/signing.ts'
import type { Journal, TableWrite } from '../journal/journal.ts'
import type { Gate, MeshNet } from '../net/mesh-net.ts'
import { type HelloInfo, HelloKeeper } from './hello-keeper.ts'
import { InviteBook } from './invite-book.ts'
import { ListCourier } from './list-courier.ts'
import { loadMembership, type StoredMembership } from './membership-store.ts'
import { MembershipWriter } from './membership-writer.ts'
import type { Mesh } from './mesh-file.ts'

export type MembershipEvent =
  /** A peer told about itself */
  | { readonly type: 'hello'; readonly peer: string; readonly hello: Hello }
  /** The peer is served from now on */
  | { readonly type: 'ready'; readonly peer: string }
  | { readonly type: 'joined'; readonly peer: string; readonly name: string }
  /** Fence its leases: it is out, whether connected or not */
  | { readonly type: 'expelled'; readonly peer: string; readonly name: string; readonly epoch: number }
  | { readonly type: 'alarm'; readonly what: string; readonly detail: string }

export interface MembershipOptions {
  readonly journal: Journal
  readonly mesh: Mesh
  readonly signer: Signer
  readonly version: string
  /** @default 3,000 */
  readonly settleMs?: number
  /** @default 30,000 */
  readonly cutOffMs?: number
  /** Monotonic milliseconds. @default performance.now */
  readonly now?: () => number
  /** Wall clock, for the expiry of invites alone. @default Date.now */
  readonly wallMs?: () => number
}

const TICK_MS = 500
/** Between two tries to write what could not be written, milliseconds. */
const RETRY_MS = 1_000
/** Until a peer that did not give its list, or take ours, is asked or told once more, milliseconds. */
const ASK_AGAIN_MS = 3_000
/** A node that was put out stays connected no longer than this until that is durable, and may be told, milliseconds. */
const EXPEL_MS = 1_000

export class MembershipService {
  readonly #options: MembershipOptions
  readonly #now: () => number
  readonly invites: InviteBook
  readonly #hellos: HelloKeeper
  readonly #listeners = new Set<(event: MembershipEvent) => void>()
  #state: MembershipState
  readonly #writer: MembershipWriter
  /** Writes that go with the state as it is now: whichever step writes it next takes them along */
  readonly #beside: TableWrite[] = []
  #retryAt = 0
  /** Peers whose list is on its way, and whether it was to be asked for once more meanwhile */
  readonly #fetches = new Map<string, boolean>()
  /** Connected peers that hold a list which did not come, and when to ask again */
  readonly #askAgainAt = new Map<string, number>()
  /** Connected peers that did not take what they were told of our list, and when to tell them again */
  readonly #tellAgainAt = new Map<string, number>()
  #net: MeshNet | undefined
  #courier: ListCourier | undefined
  #timer: NodeJS.Timeout | undefined
  /** Effects are carried out in the order of the steps */
  #queue: Promise<void> = Promise.resolve()

  private constructor(options: MembershipOptions, stored: StoredMembership | undefined) {
    this.#options = options
    this.#now = options.now ?? (() => performance.now())
    this.invites = new InviteBook(options.journal, options.wallMs ?? Date.now)
    this.#hellos = new HelloKeeper(options.journal, this.#now)
    this.#writer = new MembershipWriter(options.journal, options.mesh.meshId, stored)
    const { settleMs, cutOffMs } = { ...MEMBERSHIP_DEFAULTS, ...definedOnly(options) }
    const start = startingPoint(options.mesh, stored)
    const config = { signer: options.signer, settleMs, cutOffMs }
    this.#state = startMembership(config, start.held, start.pending, this.#now())
  }

  /** @throws MeshError E_JOURNAL_GAP, E_STORAGE */
  static async open(options: MembershipOptions): Promise<MembershipService> {
    const service = new MembershipService(options, loadMembership(options.journal, options.mesh.meshId))
    await service.invites.load()
    await service.#hellos.load()
    await service.#write()
    return service
  }

  /** For the network: whom it lets in. */
  readonly gate: Gate = {
    admits: (peer) => admitsPeer(this.#state, peer) || (this.isIn && this.invites.admits(peer)),
    serves: (peer) => admitsPeer(this.#state, peer),
  }

  /** Whether this node itself belongs to the mesh. */
  get isIn(): boolean {
    return isIn(this.#state)
  }

  get mesh(): Mesh {
    return this.#options.mesh
  }

  get epoch(): number {
    return this.#state.held.current.list.epoch
  }

  /** Role of this node. */
  get role(): Role {
    return this.member(this.#options.signer.nodeId)?.role ?? 'member'
  }

  /** The member list in force, signed. */
  get signedList(): SignedBody {
    return this.#state.held.current.signed
  }

  /** Active members by node id, this node included. */
  members(): ReadonlyMap<string, Member> {
    return this.#state.held.active
  }

  member(peer: string): Member | undefined {
    return this.#state.held.active.get(peer)
  }

  isMember(peer: string): boolean {
    return this.#state.held.active.has(peer)
  }

  /** A member by node id or by name. */
  findMember(idOrName: string): Member | undefined {
    return this.member(idOrName) ?? [...this.members().values()].find(({ name }) => name === idOrName)
  }

  view(): MembersView {
    const { current, active, revoked } = this.#state.held
    const { meshId, meshName } = this.#options.mesh
    return {
      meshId,
      meshName,
      epoch: current.list.epoch,
      members: [...active.values()].map(({ nodeId, name, role, sinceEpoch }) => ({
        id: nodeId,
        name,
        role,
        sinceEpoch,
      })),
      revoked: [...revoked].filter(([id]) => !active.has(id)).map(([id, epoch]) => ({ id, epoch })),
    }
  }

  /** Puts a node out. Resolves once that is durable here and on its way to every connected member. @throws MeshError E_FORBIDDEN, E_NOT_FOUND, E_BAD_REQUEST, E_STORAGE */
  async revoke(idOrName: string): Promise<MembersView> {
    // Asked once more because that could not be made durable: it is out in memory, and in the journal still a member.
    if (!this.findMember(idOrName) && this.#writer.holds(idOrName)) {
      await this.settle()
      return this.view()
    }
    const nodeId = this.findMember(idOrName)?.nodeId ?? idOrName
    await this.#apply({ type: 'change', change: { type: 'revoke', nodeId } })
    return this.view()
  }

  /** Adds a member, in one record with `writes`. @throws MeshError E_FORBIDDEN, E_BAD_REQUEST, E_STORAGE */
  async add(nodeId: string, name: string, role: Role, writes: readonly TableWrite[] = []): Promise<void> {
    await this.#apply(
      { type: 'change', change: { type: 'add', nodeId, name: this.#freeName(nodeId, name), role } },
      writes,
    )
  }

  /** Waits until all that was decided is durable. @throws MeshError E_STORAGE, E_OVERLOADED */
  async settle(): Promise<void> {
    await this.#enqueue(async () => {
      if (this.#writer.owes) await this.#write()
    })
  }

  /** Names are for people, who say by one where work goes: two members must not share one, and none may mean something else. */
  #freeName(nodeId: string, name: string): string {
    const isTaken = [...this.members().values()].some((member) => member.name === name && member.nodeId !== nodeId)
    if (!isTaken && !PLACES.has(name) && !isNodeId(name)) return name
    return `${cutText(name, LIMITS.nameBytes - 7)}-${nodeId.slice(-6)}`
  }

  on(listener: (event: MembershipEvent) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /**
   * Answers and asks from now on. Call once, before the network starts.
   * @param card this node's own card, for hellos
   */
  attach(net: MeshNet, card: () => SignedBody | undefined): void {
    this.#net = net
    this.#courier = new ListCourier(net, (peer) => {
      if (net.isConnected(peer)) this.#tellAgainAt.set(peer, this.#now() + ASK_AGAIN_MS)
    })
    const before = { beforeReady: true }
    const hello = (peer: string) => this.#hello(peer, card())
    net.handle(
      METHODS.hello,
      (body, { peer }) => {
        this.#heard(peer, messages.decodeHello(body, this.mesh.meshId))
        return hello(peer)
      },
      before,
    )
    net.handle(METHODS.list, (body) => this.#answerList(messages.decodeListRequest(body)), before)
    net.handle(
      METHODS.noticeList,
      (body, { peer }) => this.#told(peer, { type: 'notice', ...messages.decodeNotice(body) }),
      before,
    )
    net.handle(
      METHODS.pushList,
      (body, { peer }) => this.#told(peer, { type: 'lists', ...messages.decodeLists(body) }),
      before,
    )
    net.on((event) => {
      if (event.type === 'peer-up') void this.#greet(event.peer, hello(event.peer))
      if (event.type !== 'peer-down') return
      this.#askAgainAt.delete(event.peer)
      this.#tellAgainAt.delete(event.peer)
      this.#tell({ type: 'peer-down', peer: event.peer })
    })
    this.#timer = setInterval(() => this.#tick(), TICK_MS)
    this.#timer.unref()
  }

  /** Says that every known address was tried once: the settle window starts. */
  addressesTried(): void {
    this.#tell({ type: 'dialed' })
  }

  /** Waits for what was decided to be durable. */
  async close(): Promise<void> {
    clearInterval(this.#timer)
    await this.settle().catch(() => undefined)
  }

  #tick(): void {
    this.#tell({ type: 'tick' })
    this.#hellos.keep()
    for (const [peer, at] of this.#askAgainAt) if (this.#now() >= at) void this.#fetchList(peer, this.epoch)
    this.#tellAgain()
    if (!this.#writer.owes || this.#now() < this.#retryAt) return
    this.#retryAt = Infinity
    // The alarm was sounded when it failed at first.
    this.settle()
      .catch(() => undefined)
      .finally(() => {
        this.#retryAt = this.#now() + RETRY_MS
      })
  }

  #tellAgain(): void {
    if (this.#writer.owes) return
    for (const [peer, at] of this.#tellAgainAt) {
      if (this.#now() < at) continue
      this.#tellAgainAt.delete(peer)
      if (this.isMember(peer)) this.#courier?.notify([peer], this.#state.held.current)
    }
  }

  #hello(peer: string, card: SignedBody | undefined): Uint8Array {
    const { current } = this.#state.held
    const { meshId } = this.mesh
    const base = { meshId, epoch: current.list.epoch, digest: current.digest, card, version: this.#options.version }
    return messages.encodeHello({ ...base, ...this.#hellos.about(peer) })
  }

  async #greet(peer: string, hello: Uint8Array): Promise<void> {
    try {
      const answer = await this.#net?.request(peer, METHODS.hello, hello)
      if (answer) this.#heard(peer, messages.decodeHello(answer, this.mesh.meshId))
    } catch (error) {
      await this.#net?.disconnect(peer, `no hello: ${toMeshError(error).code}`)
    }
  }

  #heard(peer: string, hello: Hello): void {
    this.invites.settled(peer)
    const info: HelloInfo = hello
    for (const alarm of this.#hellos.heard(peer, info)) this.#emit({ type: 'alarm', ...alarm })
    this.#emit({ type: 'hello', peer, hello })
    this.#tell({ type: 'hello', peer, epoch: hello.epoch, digest: hello.digest })
  }

  #answerList(fromEpoch: number): Uint8Array {
    const { held } = this.#state
    return messages.encodeLists(held.current.signed, chainSince(held, fromEpoch, LIMITS.frameBytes - 8192))
  }

  #told(peer: string, input: Told): Uint8Array {
    this.#tell({ ...input, peer })
    return new Uint8Array()
  }

  /** A step nobody waits for; a failure to make it durable is an alarm. */
  #tell(input: MembershipInput): void {
    this.#apply(input).catch((error: unknown) => {
      this.#emit({ type: 'alarm', what: 'membership-not-durable', detail: toMeshError(error).message })
    })
  }

  async #apply(input: MembershipInput, writes: readonly TableWrite[] = []): Promise<void> {
    const { state, effects } = stepMembership(this.#state, input, this.#now())
    this.#state = state
    this.#beside.push(...writes)
    const expelled = effects.filter((effect) => effect.type === 'expel')
    for (const effect of expelled) this.#expel(effect)
    for (const effect of effects) if (effect.type === 'wait') this.#net?.setReady(effect.peer, false)
    if (effects.length === 0) return
    const done = this.#enqueue(() => this.#carryOut(effects))
    for (const { peer } of expelled) void this.#dismiss(peer, done)
    await done
  }

  #enqueue(act: () => Promise<void>): Promise<void> {
    const done = this.#queue.then(act)
    this.#queue = done.catch(() => undefined)
    return done
  }

  #expel({ peer, name, epoch }: MembershipEffect & { type: 'expel' }): void {
    this.#net?.setReady(peer, false)
    this.#emit({ type: 'expelled', peer, name, epoch })
  }

  /**
   * The node is told why it is cut off. Its leases are void already, and the gate no longer serves it. What did not become durable in time is not told: it is cut off
   * without a word.
   */
  async #dismiss(peer: string, durable: Promise<void>): Promise<void> {
    const written = durable.then(
      () => true,
      () => false,
    )
    const mayTell = await Promise.race([written, delay(EXPEL_MS, false, { ref: false })])
    if (mayTell) await this.#courier?.farewell(peer, this.#state.held.current)
    await this.#net?.disconnect(peer, 'E_REVOKED')
    this.#net?.recheck()
  }

  /** When the record fails, only what tells others of the list waits for it: peers are served, and asked for their lists, all the same. */
  async #carryOut(effects: readonly MembershipEffect[]): Promise<void> {
    const isDue = effects.some(({ type }) => type === 'persist')
    const failure = isDue ? await this.#write().catch(toMeshError) : undefined
    for (const effect of effects) {
      const tells = effect.type === 'push' || effect.type === 'notify'
      if (tells && this.#writer.owes) this.#writer.hold(effect)
      else this.#carryOutOne(effect)
    }
    if (failure) throw failure
  }

  async #write(): Promise<void> {
    const { held, pending } = this.#state
    const told = await this.#writer.write({ held, pending }, this.#beside.splice(0))
    for (const effect of told) this.#carryOutOne(effect)
  }

  #carryOutOne(effect: MembershipEffect): void {
    switch (effect.type) {
      case 'ready':
        // It came to wait for a record, and is of a connection that has ended since.
        if (this.#state.peers.get(effect.peer) !== 'ready') return
        this.#net?.setReady(effect.peer)
        return this.#emit(effect)
      case 'fetch-list':
        return void this.#fetchList(effect.peer, effect.fromEpoch)
      case 'push':
        return this.#courier?.push(effect.peers, effect.lists)
      case 'notify':
        return this.#courier?.notify(effect.peers, this.#state.held.current)
      case 'joined':
      case 'alarm':
        return this.#emit(effect)
      case 'refuse':
        return void this.#net?.disconnect(effect.peer, effect.code)
      case 'wait':
      case 'expel':
      case 'persist':
        return
    }
  }

  /** One at a time from each peer, however often it says that it has another list. */
  async #fetchList(peer: string, fromEpoch: number): Promise<void> {
    const isUnderWay = this.#fetches.has(peer)
    this.#fetches.set(peer, isUnderWay)
    if (isUnderWay) return
    this.#askAgainAt.delete(peer)
    try {
      const lists = await this.#courier?.fetch(peer, fromEpoch)
      if (lists) this.#tell({ type: 'lists', peer, ...lists })
    } catch {
      this.#tell({ type: 'fetch-failed', peer })
      if (this.#net?.isConnected(peer)) this.#askAgainAt.set(peer, this.#now() + ASK_AGAIN_MS)
    }
    const isAskedAgain = this.#fetches.get(peer) === true
    this.#fetches.delete(peer)
    if (isAskedAgain && this.#net?.isConnected(peer)) await this.#fetchList(peer, this.epoch)
  }

  #emit(event: MembershipEvent): void {
    for (const listener of this.#listeners) listener(event)
  }
}

type Told = Omit<MembershipInput & { type: 'notice' }, 'peer'> | Omit<MembershipInput & { type: 'lists' }, 'peer'>

function definedOnly({ settleMs, cutOffMs }: MembershipOptions) {
  return { ...(settleMs === undefined ? {} : { settleMs }), ...(cutOffMs === undefined ? {} : { cutOffMs }) }
}

/**
 * The journal's lists, unless the mesh file holds a later one that they do not lead to: then this node was admitted anew, and the invite vouches for that list.
 */
function startingPoint(mesh: Mesh, stored: StoredMembership | undefined): StoredMembership {
  const admitted = { held: effective({ current: mesh.list, history: [], extra: [] }), pending: [] }
  if (!stored) return admitted
  const { held, pending } = stored
  if (mesh.list.list.epoch <= held.current.list.epoch || holds(held, mesh.list.digest)) return stored
  const verdict = considerList(held, mesh.list)
  return verdict.type === 'adopt' ? { held: verdict.held, pending } : admitted
}
