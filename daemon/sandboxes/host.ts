/** The sandboxes of this node, for whoever owns them: one place for each owner, which reaches that owner's sandboxes and no others. */
import type { SandboxView } from '../../protocol/api-sandboxes.ts'
import type { ExecutorOffer } from '../../protocol/card/card.ts'
import { MeshError } from '../../protocol/errors.ts'
import type { OpReply, SandboxOp, SandboxOrder } from '../../protocol/sandbox/op.ts'
import type { GuestConnection } from '../exec/sandbox/guest/guest-connection.ts'
import type { Sandbox, SandboxExecutor, SandboxSpec } from '../exec/sandbox/sandbox.ts'
import type { Doors } from './doors.ts'
import { processView } from './guest-end.ts'
import { HostImages, type ImageOp } from './host-images.ts'
import { hostView, ownerParts, ownerText, ownLimits, snapshotView } from './host-view.ts'
import type { Leases } from './leases.ts'
import type { OpLink, OpPlace } from './op-link.ts'
import { passLogs, runExec, signalProcess, startProcess, waitLog } from './run-exec.ts'
import { runCode } from './run-code.ts'
import { Slots } from './slots.ts'
import { fileOp, passAll, portOp, readSmall, received, waitPort, watchOp } from './run-stream.ts'

export interface SandboxHostOptions {
  readonly executor: SandboxExecutor
  readonly doors: Pick<Doors, 'ready' | 'lent' | 'forget'>
  readonly leases: Leases
  readonly self: string
  readonly nodeName: () => string
  /** Image of sandboxes that name none */
  readonly defaultImage: string
  /** Output that the guest keeps of a background process, bytes */
  readonly keptBytes: number
  /** Sandboxes up to which other nodes get room */
  readonly slots: number
  /** Whether other nodes may make images here */
  readonly imagesFromPeers: boolean
  /** There is another image than before */
  readonly onImages: () => void
}

type Op<Name extends SandboxOp['op']> = Extract<SandboxOp, { op: Name }>

export class SandboxHost {
  readonly #options: SandboxHostOptions
  readonly #slots: Slots
  readonly images: HostImages

  constructor(options: SandboxHostOptions) {
    this.#options = options
    const { executor, self, slots } = options
    this.images = new HostImages(options)
    this.#slots = new Slots({
      ...{ slots, self },
      owners: () => executor.list().map((sandbox) => ownerParts(sandbox.view().owner).node),
    })
  }

  /** What belongs to a node, on this one. */
  placeFor(owner: string): OpPlace {
    return { run: (op, link) => this.#run(owner, op, link) }
  }

  views(owner: string): SandboxView[] {
    const { executor } = this.#options
    return executor
      .list()
      .filter((sandbox) => ownerParts(sandbox.view().owner).node === owner)
      .map((sandbox) => this.#view(sandbox))
  }

  /** Id of the sandbox of `owner` with this id or name. */
  find(owner: string, idOrName: string): string | undefined {
    const { executor } = this.#options
    const mine = (sandbox: Sandbox): boolean => ownerParts(sandbox.view().owner).node === owner
    const byId = executor.get(idOrName)
    if (byId && mine(byId)) return byId.id
    return executor.list().find((sandbox) => mine(sandbox) && sandbox.view().name === idOrName)?.id
  }

  #view(sandbox: Sandbox): SandboxView {
    const { self, nodeName } = this.#options
    return hostView(sandbox.view(), self, nodeName())
  }

  async #run(owner: string, op: SandboxOp, link: OpLink): Promise<OpReply> {
    switch (op.op) {
      case 'create':
        return this.#add(owner, link, () => this.#create(owner, op.order, link))
      case 'import':
        return this.#add(owner, link, () => this.#import(owner, op, link))
      case 'views':
        return { views: this.views(owner).filter(({ id }) => op.ids?.includes(id) ?? true) }
      case 'renew':
        return this.#renew(owner, op.ids)
      case 'images':
        return { images: await this.images.list() }
      case 'image-pull':
      case 'image-import':
      case 'image-build':
        return this.images.make(op, owner === this.#options.self, link)
      default:
        return this.#onSandbox(owner, this.#owned(owner, op.sandbox), op, link)
    }
  }

  /** A sandbox of `owner` that was not here: it takes a slot, and has a lease. @throws MeshError E_OVERLOADED */
  async #add(owner: string, { signal }: OpLink, make: () => Promise<Sandbox>): Promise<OpReply> {
    const sandbox = await this.#slots.fill(owner, make)
    if (owner === this.#options.self) return { view: this.#view(sandbox) }
    this.#options.leases.add(sandbox.id, owner)
    if (signal.aborted) {
      // A node that left meanwhile never hears of it, and finds its name taken
      await this.#remove(sandbox)
      throw signal.reason
    }
    return { view: this.#view(sandbox) }
  }

  async #remove(sandbox: Sandbox): Promise<void> {
    await sandbox.remove()
    this.#options.leases.forget(sandbox.id)
    await this.#options.doors.forget(sandbox.id)
  }

  #create(owner: string, order: SandboxOrder, link: OpLink): Promise<Sandbox> {
    const { executor, defaultImage } = this.#options
    const { image = defaultImage, name, limits, isolation, profile, env, idleMs, agent } = order
    const spec: SandboxSpec = {
      image,
      owner: ownerText(owner, agent),
      ...(name === undefined ? {} : { name }),
      ...(profile === undefined ? {} : { profile }),
      ...(isolation === undefined ? {} : { grade: isolation }),
      ...(limits === undefined ? {} : { limits: ownLimits(limits) }),
      ...(env === undefined ? {} : { env }),
      ...(idleMs === undefined ? {} : { sleepAfterMs: idleMs }),
    }
    return executor.create(spec, { signal: link.signal })
  }

  #import(owner: string, { name, agent, isolation }: Op<'import'>, link: OpLink): Promise<Sandbox> {
    return this.#options.executor.import(
      received(link),
      {
        owner: ownerText(owner, agent),
        ...(name === undefined ? {} : { name }),
        ...(isolation === undefined ? {} : { grade: isolation }),
      },
      { signal: link.signal },
    )
  }

  #renew(owner: string, ids: readonly string[]): OpReply {
    const views = this.views(owner).filter(({ id }) => ids.includes(id))
    for (const { id } of views) this.#options.leases.renewed(id)
    return { views }
  }

  /** @throws MeshError E_NOT_FOUND: of what belongs to others nothing is said, not even that it exists */
  #owned(owner: string, id: string): Sandbox {
    const sandbox = this.#options.executor.get(id)
    if (sandbox !== undefined && ownerParts(sandbox.view().owner).node === owner) {
      // Whoever uses it wants it
      this.#options.leases.renewed(id)
      return sandbox
    }
    throw new MeshError('E_NOT_FOUND', `Cannot find the sandbox: this node has none of yours with id "${id}"`, {
      hint: 'It was removed there, or never was; see: manyhands sandbox ls',
    })
  }

  async #onSandbox(
    owner: string,
    sandbox: Sandbox,
    op: Exclude<SandboxOp, Op<'create' | 'import' | 'views' | 'renew' | 'images'> | ImageOp>,
    link: OpLink,
  ): Promise<OpReply> {
    switch (op.op) {
      case 'sleep':
        await sandbox.sleep(op.depth ?? 'stop')
        return { view: this.#view(sandbox) }
      case 'wake':
        await sandbox.wake()
        return { view: this.#view(sandbox) }
      case 'remove':
        await this.#remove(sandbox)
        return {}
      case 'snapshot':
        return { snapshot: snapshotView(await sandbox.snapshot(op.name)) }
      case 'remove-snapshot':
        await sandbox.removeSnapshot(op.name)
        return {}
      case 'restore':
        await sandbox.restore(op.name ?? newestSnapshot(sandbox))
        return { view: this.#view(sandbox) }
      case 'fork':
        return this.#add(owner, link, () => this.#fork(sandbox, op))
      case 'export':
        await passAll(sandbox.exportContent(link.signal), link)
        return { view: this.#view(sandbox) }
      case 'door':
        await this.#options.doors.lent(sandbox, owner, op.ticket)
        return {}
      default:
        return this.#inGuest(sandbox, op, link)
    }
  }

  #fork(sandbox: Sandbox, { name, from }: Op<'fork'>): Promise<Sandbox> {
    return sandbox.fork({
      owner: sandbox.view().owner,
      ...(name === undefined ? {} : { name }),
      ...(from === undefined ? {} : { from }),
    })
  }

  /** Everything that needs the guest awake; it stays so until the op is over. */
  async #inGuest(sandbox: Sandbox, op: GuestOp, link: OpLink): Promise<OpReply> {
    const release = await sandbox.use()
    try {
      return await this.#ask(sandbox, await sandbox.guest(link.signal), op, link)
    } finally {
      release()
    }
  }

  async #ask(sandbox: Sandbox, guest: GuestConnection, op: GuestOp, link: OpLink): Promise<OpReply> {
    const workspace = sandbox.view().workspace.path
    const inside = (path: string): string => absolutePath(path, workspace)
    const env = (): Promise<Readonly<Record<string, string>>> => this.#options.doors.ready(sandbox, guest)
    switch (op.op) {
      case 'exec':
        return runExec(guest, inFolder(op, inside), await env(), link)
      case 'start':
        return startProcess(guest, inFolder(op, inside), await env())
      case 'code':
        return runCode(guest, op, await env(), link)
      case 'logs':
        return passLogs(guest, op, this.#options.keptBytes, link)
      case 'wait-log':
        return waitLog(guest, op, link.signal)
      case 'wait-port':
        return waitPort(guest, op, link.signal)
      case 'port':
        return portOp(guest, op, link)
      case 'read':
        await passAll(guest.files.readStream(inside(op.path), { signal: link.signal }), link)
        return {}
      case 'read-small':
        return readSmall(guest.files, inside(op.path), link)
      case 'write':
      case 'write-small':
        await guest.files.write(inside(op.path), received(link), {
          signal: link.signal,
          ...(op.mode === undefined ? {} : { mode: op.mode }),
        })
        return {}
      case 'watch':
        return watchOp(guest.files, inside(op.path), link)
      case 'files':
        return fileOp(guest.files, op, inside)
      case 'processes':
        return { processes: (await guest.processes()).map(processView) }
      case 'signal':
        return signalProcess(guest, op.process, op.signal)
    }
  }

  /** For this node's card: one row for each grade it can give. */
  offers(): ExecutorOffer[] {
    const { executor, slots } = this.#options
    const free = this.#slots.free()
    return executor
      .grades()
      .map((grade) => ({ kind: 'sandbox', grade, slots, free, queued: 0, maxMemoryBytes: 0, maxWallMs: 0 }))
  }
}

type GuestOp = Op<
  | 'exec'
  | 'start'
  | 'code'
  | 'logs'
  | 'wait-log'
  | 'wait-port'
  | 'port'
  | 'read'
  | 'read-small'
  | 'write'
  | 'write-small'
  | 'watch'
  | 'files'
  | 'processes'
  | 'signal'
>

function newestSnapshot(sandbox: Sandbox): string {
  const newest = sandbox
    .view()
    .snapshots.reduce<{ name: string; createdAt: number } | undefined>(
      (best, one) => (best === undefined || one.createdAt >= best.createdAt ? one : best),
      undefined,
    )
  if (newest) return newest.name
  throw new MeshError('E_NOT_FOUND', 'Cannot restore: the sandbox has no snapshot', {
    hint: 'Make one first: manyhands sandbox snapshot <name>',
  })
}

/** Paths of the API may be relative to the workspace; `..` is refused by the guest's own walk. */
export function absolutePath(path: string, workspace: string): string {
  if (path.startsWith('/')) return path
  const rest = path.replace(/^(?:\.\/)+|^\.$/, '')
  return rest === '' ? workspace : `${workspace}/${rest}`
}

function inFolder<T extends { readonly cwd?: string }>(op: T, inside: (path: string) => string): T {
  return op.cwd === undefined ? op : { ...op, cwd: inside(op.cwd) }
}
