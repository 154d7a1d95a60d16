/**
 * Sandboxes as the clients of this node see them: one list, wherever each is. A sandbox of this node's own executor is known to the executor; one on a peer has
 * a row here. Every operation is carried to where its sandbox is.
 */
import { randomBytes } from 'node:crypto'
import type {
  BoxDone,
  BoxOpen,
  FileReply,
  FileRequest,
  ImageView,
  ProcessView,
  SandboxRequest,
  SandboxView,
  SnapshotView,
} from '../../protocol/api-sandboxes.ts'
import { MeshError } from '../../protocol/errors.ts'
import type { OpReply, SandboxOp } from '../../protocol/sandbox/op.ts'
import type { LentDoor } from '../egress/egress.ts'
import { type ArtifactGrants, subjectOf } from './artifact-grants.ts'
import type { AwayBook, AwaySandbox } from './away-book.ts'
import { fillWorkspace } from './fill-workspace.ts'
import type { SandboxHost } from './host.ts'
import { type OpLink, type OpPlace, pipeLinks, quietLink, runOwn } from './op-link.ts'
import type { SandboxPlacer } from './placer.ts'
import { SharedWork } from './shared-work.ts'

export interface DeskOptions {
  readonly self: string
  readonly host: Pick<SandboxHost, 'placeFor' | 'views' | 'find'>
  readonly away: AwayBook
  readonly grants: ArtifactGrants
  readonly placer: Pick<SandboxPlacer, 'candidates' | 'hopeless' | 'nodeCalled'>
  /** A peer as a place */
  readonly peer: (node: string) => OpPlace
  /** Makes the way out of a sandbox on a peer lead here. Undefined: it has none */
  readonly lend: (row: AwaySandbox) => Promise<LentDoor | undefined>
  readonly warn: (facts: object, message: string) => void
  /** @default OWN_OP_MS */
  readonly ownOpMs?: number
}

/** Where a sandbox is, and what it is called there. */
interface Found {
  /** What the client knows it by */
  readonly id: string
  readonly at: string
  readonly node: string
  readonly place: OpPlace
  readonly away: AwaySandbox | undefined
}

export class SandboxDesk {
  readonly #options: DeskOptions
  readonly #doors = new Map<string, LentDoor>()
  /** Creations by idempotency key, of this run of the daemon */
  readonly #keys = new Map<string, { readonly request: string; readonly making: SharedWork<SandboxView> }>()

  /** Of sandboxes that are being made */
  readonly #names = new Set<string>()

  constructor(options: DeskOptions) {
    this.#options = options
  }

  /** @throws MeshError E_NO_CANDIDATE, E_GRADE, E_NOT_FOUND (image, artifact), E_IMAGE, E_CONFLICT (name), E_OVERLOADED, E_KEY_REUSED */
  create(request: SandboxRequest, key: string | undefined, signal: AbortSignal): Promise<SandboxView> {
    if (key === undefined) return this.#create(request, signal)
    const text = JSON.stringify(request)
    const known = this.#keys.get(key)
    if (known !== undefined && known.request !== text)
      throw new MeshError('E_KEY_REUSED', 'Cannot make the sandbox: the idempotency key was used for another one', {
        hint: 'Use a new key for a new request',
      })
    if (known?.making.left === false) return known.making.wait(signal)
    const making = new SharedWork((all) => this.#createAfter(known?.making, request, all))
    this.#keys.set(key, { request: text, making })
    const [oldest] = this.#keys.keys()
    if (this.#keys.size > MAX_KEYS && oldest !== undefined) this.#keys.delete(oldest)
    making.result.catch(() => {
      if (this.#keys.get(key)?.making === making) this.#keys.delete(key)
    })
    return making.wait(signal)
  }

  /** One that everybody left may have been made nonetheless; else what it had, its name too, is free once it has ended. */
  async #createAfter(
    before: SharedWork<SandboxView> | undefined,
    request: SandboxRequest,
    signal: AbortSignal,
  ): Promise<SandboxView> {
    const made = await before?.result.catch(() => undefined)
    return made ?? this.#create(request, signal)
  }

  async #create(request: SandboxRequest, signal: AbortSignal): Promise<SandboxView> {
    const { artifact: wanted, artifactAccess: access = 'write', on = 'any', ...order } = request
    const artifact = wanted === undefined ? undefined : await this.#options.grants.look(wanted)
    const view = await this.#named(order.name, () => this.#make(order, on, signal))
    if (artifact === undefined) return view
    const subject = subjectOf(view.id, view.name)
    try {
      await this.#options.grants.give(view.id, { artifact: artifact.id, name: artifact.name, access, subject })
      const { place, at } = this.#known(view.id)
      await fillWorkspace({ place, at, artifact, subject, signal })
      return this.#told(view)
    } catch (error) {
      await this.remove(view.id).catch((failure: unknown) =>
        this.#options.warn({ err: failure, sandbox: view.id }, 'a sandbox that could not be filled is still there'),
      )
      throw error
    }
  }

  async #make(
    order: Omit<SandboxRequest, 'artifact' | 'artifactAccess' | 'on'>,
    on: string,
    signal: AbortSignal,
  ): Promise<SandboxView> {
    const { placer, self } = this.#options
    let refusal: MeshError | undefined
    for (const node of await placer.candidates(order, on)) {
      signal.throwIfAborted()
      try {
        const { view } = await this.#place(node).run({ op: 'create', order }, quietLink(signal))
        if (!view) throw new MeshError('E_PROTOCOL', 'Cannot read the answer of a peer: it names no sandbox')
        return node === self ? view : await this.#keepAway(view.id, node, view, order.agent)
      } catch (error) {
        if (!(error instanceof MeshError) || !mayTryOthers(error)) throw error
        refusal = error
      }
    }
    throw refusal ?? placer.hopeless(order, on)
  }

  /** Gives the name to nobody else meanwhile. @throws MeshError E_CONFLICT, and what `make` throws */
  async #named<T>(name: string | undefined, make: () => Promise<T>): Promise<T> {
    if (name === undefined) return make()
    if (this.#names.has(name) || this.#find(name) !== undefined)
      throw new MeshError('E_CONFLICT', `Cannot make the sandbox: there is one called "${name}"`, {
        hint: 'See: manyhands sandbox ls',
      })
    this.#names.add(name)
    try {
      return await make()
    } finally {
      this.#names.delete(name)
    }
  }

  async #keepAway(id: string, node: string, view: SandboxView, agent: string | undefined): Promise<SandboxView> {
    const { away, warn } = this.#options
    const row: AwaySandbox = {
      id,
      node,
      at: view.id,
      ...(view.name === undefined ? {} : { name: view.name }),
      ...(agent === undefined ? {} : { agent }),
      view: { ...view, id },
    }
    try {
      await away.put(row)
    } catch (error) {
      await this.#own(node, { op: 'remove', sandbox: view.id }).catch(() => undefined)
      throw error
    }
    // One that came home goes out here: nobody keeps the way out that was lent to it
    await (node === this.#options.self ? this.#closeDoor(id) : this.#lendDoor(row)).catch((error: unknown) =>
      warn({ err: error, sandbox: id }, 'the way out of a sandbox did not move with it'),
    )
    return row.view
  }

  async #closeDoor(id: string): Promise<void> {
    const door = this.#doors.get(id)
    this.#doors.delete(id)
    await door?.close()
  }

  async #lendDoor(row: AwaySandbox): Promise<void> {
    const { id, at, node } = row
    await this.#closeDoor(id)
    const door = await this.#options.lend(row)
    if (!door) return
    // It moved or was removed meanwhile
    if (this.#options.away.find(id)?.at !== at) return door.close()
    const other = this.#doors.get(id)
    this.#doors.set(id, door)
    await other?.close()
    try {
      await this.#own(node, { op: 'door', sandbox: at, ticket: ticketOf(door) })
    } catch (error) {
      // The next renewal finds that none is lent, and lends one
      if (this.#doors.get(id) === door) await this.#closeDoor(id)
      throw error
    }
  }

  /** To sandboxes of ours that a peer holds. */
  async #lendDoors(node: string, isDue: (id: string) => boolean): Promise<void> {
    for (const row of this.#options.away.all())
      if (row.node === node && row.view.state !== 'lost' && isDue(row.id)) await this.#lendDoor(row)
  }

  /** Every sandbox of this node's clients; those on peers as last heard. */
  list(): SandboxView[] {
    const { away, host, self } = this.#options
    const rows = away.all()
    const renamed = new Map(rows.filter(({ node }) => node === self).map((row) => [row.at, row.id]))
    const own = host.views(self).map((view) => ({ ...view, id: renamed.get(view.id) ?? view.id }))
    return [...own, ...rows.filter(({ node }) => node !== self).map(({ view }) => view)].map((view) => this.#told(view))
  }

  /** @throws MeshError E_NOT_FOUND */
  async view(idOrName: string, signal: AbortSignal): Promise<SandboxView> {
    const found = this.#known(idOrName)
    const { views = [] } = await found.place.run({ op: 'views', ids: [found.at] }, quietLink(signal))
    const [view] = views
    if (!view) return this.#gone(found)
    return this.#shown(found, view)
  }

  async sleep(id: string, depth: 'pause' | 'stop' | undefined, signal: AbortSignal): Promise<SandboxView> {
    return this.#viewOf(id, (sandbox) => ({ op: 'sleep', sandbox, ...(depth === undefined ? {} : { depth }) }), signal)
  }

  async wake(id: string, signal: AbortSignal): Promise<SandboxView> {
    return this.#viewOf(id, (sandbox) => ({ op: 'wake', sandbox }), signal)
  }

  async restore(id: string, snapshot: string | undefined, signal: AbortSignal): Promise<SandboxView> {
    return this.#viewOf(
      id,
      (sandbox) => ({ op: 'restore', sandbox, ...(snapshot === undefined ? {} : { name: snapshot }) }),
      signal,
    )
  }

  async snapshot(id: string, name: string | undefined, signal: AbortSignal): Promise<SnapshotView> {
    const made = name ?? `s-${randomBytes(5).toString('hex')}`
    const { snapshot } = await this.#do(id, (sandbox) => ({ op: 'snapshot', sandbox, name: made }), signal)
    if (snapshot) return snapshot
    throw new MeshError('E_PROTOCOL', 'Cannot read the answer of a peer: it names no snapshot')
  }

  async removeSnapshot(id: string, name: string, signal: AbortSignal): Promise<void> {
    await this.#do(id, (sandbox) => ({ op: 'remove-snapshot', sandbox, name }), signal)
  }

  fork(
    id: string,
    options: { readonly name?: string; readonly from?: string },
    signal: AbortSignal,
  ): Promise<SandboxView> {
    return this.#named(options.name, () => this.#fork(id, options, signal))
  }

  async #fork(
    id: string,
    options: { readonly name?: string; readonly from?: string },
    signal: AbortSignal,
  ): Promise<SandboxView> {
    const found = this.#known(id)
    const { view } = await found.place.run({ op: 'fork', sandbox: found.at, ...options }, quietLink(signal))
    if (!view) throw new MeshError('E_PROTOCOL', 'Cannot read the answer of a peer: it names no sandbox')
    const { grants, self } = this.#options
    await grants.share(found.id, view.id, subjectOf(view.id, view.name))
    return this.#told(found.node === self ? view : await this.#keepAway(view.id, found.node, view, found.away?.agent))
  }

  /**
   * Gone on its node, or that node gone from the mesh: then only the row is left, and that goes. @param signal of the client; absent: it is this daemon's
   * own wish. @throws MeshError E_UNREACHABLE, E_TIMEOUT
   */
  async remove(id: string, signal?: AbortSignal): Promise<void> {
    const found = this.#known(id)
    const op = { op: 'remove', sandbox: found.at } as const
    try {
      await (signal ? found.place.run(op, quietLink(signal)) : this.#own(found.node, op))
    } catch (error) {
      if (!(error instanceof MeshError) || (error.code !== 'E_NOT_FOUND' && error.code !== 'E_NOT_MEMBER')) throw error
    }
    await this.#options.away.remove(found.id)
    await this.#closeDoor(found.id)
    await this.#options.grants.take(found.id)
  }

  /** Copies it, then removes it where it was; what fails before leaves it where it is. */
  async move(id: string, to: string, signal: AbortSignal): Promise<SandboxView> {
    const found = this.#known(id)
    const before = await this.view(id, signal)
    const node = this.#options.placer.nodeCalled(to)
    if (node === found.node) return before
    const pipe = pipeLinks(signal)
    const exported = found.place.run({ op: 'export', sandbox: found.at }, pipe.giver).then(() => pipe.end())
    const { agent = found.away?.agent } = before
    const imported = this.#place(node).run(
      {
        op: 'import',
        isolation: before.grade,
        ...(before.name === undefined ? {} : { name: before.name }),
        ...(agent === undefined ? {} : { agent }),
      },
      pipe.taker,
    )
    for (const half of [exported, imported]) half.catch((error: unknown) => pipe.fail(error))
    const [, { view }] = await Promise.all([exported, imported])
    if (!view) throw new MeshError('E_PROTOCOL', 'Cannot read the answer of a peer: it names no sandbox')
    const kept = await this.#keepAway(found.id, node, view, agent)
    await this.#own(found.node, { op: 'remove', sandbox: found.at }).catch((error: unknown) => {
      this.#options.warn({ err: error, sandbox: found.id }, 'a sandbox was moved, and its old copy is still there')
    })
    return this.#told(kept)
  }

  async files(id: string, request: FileRequest, signal: AbortSignal): Promise<FileReply> {
    const { entries = [] } = await this.#do(id, (sandbox) => ({ op: 'files', sandbox, request }), signal)
    return { entries }
  }

  async processes(id: string, signal: AbortSignal): Promise<readonly ProcessView[]> {
    return (await this.#do(id, (sandbox) => ({ op: 'processes', sandbox }), signal)).processes ?? []
  }

  async signal(id: string, process: number, name: string, signal: AbortSignal): Promise<void> {
    await this.#do(id, (sandbox) => ({ op: 'signal', sandbox, process, signal: name }), signal)
  }

  async images(on: string | undefined, signal: AbortSignal): Promise<readonly ImageView[]> {
    return (await this.#place(this.#nodeFor(on)).run({ op: 'images' }, quietLink(signal))).images ?? []
  }

  /** A streaming operation of a client. */
  async stream(open: BoxOpen, link: OpLink): Promise<BoxDone> {
    if ('sandbox' in open) {
      const found = this.#known(open.sandbox)
      return found.place.run({ ...open, sandbox: found.at }, link)
    }
    const { on, ...op } = open
    return this.#place(this.#nodeFor(on)).run(op, link)
  }

  /** Says to a peer that its sandboxes of ours are still wanted, hears how they are, and lends a way out to those that could not take one. */
  async renew(node: string): Promise<void> {
    await this.#renewAll(node)
    await this.#lendDoors(node, (id) => !this.#doors.has(id))
  }

  async #renewAll(node: string): Promise<void> {
    const rows = this.#options.away.all().filter((row) => row.node === node)
    for (let at = 0; at < rows.length; at += RENEW_AT_ONCE)
      await this.#renewSome(node, rows.slice(at, at + RENEW_AT_ONCE))
  }

  async #renewSome(node: string, rows: readonly AwaySandbox[]): Promise<void> {
    const { away } = this.#options
    const { views = [] } = await this.#own(node, { op: 'renew', ids: rows.map(({ at }) => at) })
    const heard = new Map(views.map((view) => [view.id, view]))
    for (const row of rows) {
      const view = heard.get(row.at)
      away.heard(
        row.id,
        view ? { ...view, id: row.id } : { ...row.view, state: 'lost', note: 'its node does not have it any more' },
      )
    }
  }

  /** A peer is here (again): its doors lead here (again). */
  async reconnected(node: string): Promise<void> {
    await this.#renewAll(node)
    await this.#lendDoors(node, () => true)
  }

  /** Nodes that hold sandboxes of this one. */
  holders(): Set<string> {
    const { away, self } = this.#options
    return new Set(away.all().flatMap(({ node }) => (node === self ? [] : [node])))
  }

  async close(): Promise<void> {
    await Promise.all([...this.#doors.values()].map((door) => door.close()))
    this.#doors.clear()
  }

  /** What this daemon asks by itself comes to an end. @throws MeshError E_TIMEOUT, and what the op throws */
  #own(node: string, op: SandboxOp): Promise<OpReply> {
    return runOwn(this.#place(node), op, this.#options.ownOpMs)
  }

  #nodeFor(on: string | undefined): string {
    return on === undefined || on === 'local' ? this.#options.self : this.#options.placer.nodeCalled(on)
  }

  #place(node: string): OpPlace {
    const { self, host, peer } = this.#options
    return node === self ? host.placeFor(self) : peer(node)
  }

  #find(idOrName: string): Found | undefined {
    const { away, host, self } = this.#options
    const row = away.find(idOrName)
    if (row) return { id: row.id, at: row.at, node: row.node, place: this.#place(row.node), away: row }
    const own = host.find(self, idOrName)
    return own === undefined ? undefined : { id: own, at: own, node: self, place: this.#place(self), away: undefined }
  }

  #known(idOrName: string): Found {
    const found = this.#find(idOrName)
    if (found) return found
    throw new MeshError('E_NOT_FOUND', `Cannot find the sandbox: there is none called "${idOrName}"`, {
      hint: 'See: manyhands sandbox ls',
    })
  }

  #do(id: string, op: (at: string) => SandboxOp, signal: AbortSignal): Promise<OpReply> {
    const found = this.#known(id)
    return found.place.run(op(found.at), quietLink(signal))
  }

  async #viewOf(id: string, op: (at: string) => SandboxOp, signal: AbortSignal): Promise<SandboxView> {
    const found = this.#known(id)
    const { view } = await found.place.run(op(found.at), quietLink(signal))
    if (!view) throw new MeshError('E_PROTOCOL', 'Cannot read the answer of a peer: it names no sandbox')
    return this.#shown(found, view)
  }

  #shown(found: Found, view: SandboxView): SandboxView {
    const shown = { ...view, id: found.id }
    if (found.away) this.#options.away.heard(found.id, shown)
    return this.#told(shown)
  }

  /** What only the owner's node knows of it: nothing that another node says. */
  #told(view: SandboxView): SandboxView {
    const grant = this.#options.grants.find(view.id)
    if (grant === undefined) return view
    const { artifact: id, name, access } = grant
    return { ...view, artifact: { id, name, access } }
  }

  #gone(found: Found): SandboxView {
    if (found.away) return this.#told({ ...found.away.view, state: 'lost', note: 'its node does not have it any more' })
    throw new MeshError('E_NOT_FOUND', `Cannot find the sandbox: there is none called "${found.id}"`, {
      hint: 'See those there are with: manyhands sandbox ls',
    })
  }
}

const MAX_KEYS = 1_024
const RENEW_AT_ONCE = 256

/** What another node may do better. */
function mayTryOthers({ code }: MeshError): boolean {
  return OTHERS_MAY.has(code)
}

const OTHERS_MAY: ReadonlySet<MeshError['code']> = new Set<MeshError['code']>([
  'E_OVERLOADED',
  'E_UNREACHABLE',
  'E_TIMEOUT',
  'E_NO_ENGINE',
  'E_ENGINE',
  'E_ENGINE_LOST',
  'E_GRADE',
  'E_NOT_FOUND',
  'E_IMAGE',
  'E_STOPPING',
  'E_FORBIDDEN',
  'E_SYNCING',
])

function ticketOf(door: LentDoor): Extract<SandboxOp, { op: 'door' }>['ticket'] {
  const { id, kit } = door.ticket
  return {
    id,
    kit: {
      env: { ...kit.env },
      files: kit.files.map((file) => ({ ...file })),
      caPem: kit.caPem,
      placeholders: { ...kit.placeholders },
    },
  }
}
