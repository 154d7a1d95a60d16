/**
 * The composition root: with `serve.ts`, the one place that knows every part and puts them together.
 *
 * Start, each step using only what came before. A node is joined as soon as it can be; what that does not need is loaded only then.
 *   1 configuration, identity and mesh (`setting.ts`)  2 journal  3 membership and directory  4 the network listens and dials
 *   5 hands and task engine  6 tasks from before the restart are taken up  7 local API (5 to 7: `serve.ts`)
 * Stop, in reverse: the API takes no more, work drains, leases end, network, and the journal last, so that everything before can still be stored.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fingerprint } from '../protocol/membership/invite.ts'
import { VERSION } from '../protocol/version.ts'
import { ARTIFACT_JOURNAL_RECORDS } from './artifacts/journal-records.ts'
import { MeshEventLog } from './api/mesh-event-log.ts'
import type { ApiAddress } from './api/server.ts'
import type { Paths } from './config/paths.ts'
import { DISCOVERY_RECORDS } from './discovery/address-book.ts'
import { DirectoryService } from './discovery/directory-service.ts'
import type { Offer } from './discovery/own-card.ts'
import { SANDBOX_RECORDS } from './exec/sandbox/records.ts'
import { writeFileAtomic } from './files/atomic-file.ts'
import { JoinServer } from './identity/join-server.ts'
import { MembershipService } from './identity/membership-service.ts'
import { MEMBERSHIP_RECORDS } from './identity/membership-store.ts'
import type { Journal } from './journal/journal.ts'
import { openLevelJournal } from './journal/level-journal.ts'
import { FloodGate } from './observe/flood-gate.ts'
import { keepPorts, withKeptPorts } from './net/kept-ports.ts'
import { prepareNet } from './net/libp2p-net.ts'
import type { MeshNet } from './net/mesh-net.ts'
import { SANDBOX_DESK_RECORDS } from './sandboxes/records.ts'
import type { Served } from './serve.ts'
import { type DaemonOptions, type Setting, settle, startedMark } from './setting.ts'
import { TASK_ENGINE_RECORDS } from './tasks/records.ts'

export { joinMesh } from './join.ts'
export { closeInherited } from './processes/sealed-stdio.ts'
export type { JoinResult } from './join.ts'
export type { DaemonOptions } from './setting.ts'

export interface RunningDaemon {
  readonly id: string
  readonly name: string
  readonly mesh: { readonly id: string; readonly name: string; readonly members: number }
  readonly addresses: readonly string[]
  readonly api: ApiAddress
  readonly paths: Paths
  /** Resolves when the daemon has stopped, by `stop` or by a request of the API */
  readonly stopped: Promise<void>
  /** Drains for at most `drainMs` (default: the configuration's), then ends everything. May be called again: then at once. */
  stop(drainMs?: number): Promise<void>
}

const JOURNAL_RECORDS = [
  ...MEMBERSHIP_RECORDS,
  ...DISCOVERY_RECORDS,
  ...TASK_ENGINE_RECORDS,
  ...ARTIFACT_JOURNAL_RECORDS,
  ...SANDBOX_RECORDS,
  ...SANDBOX_DESK_RECORDS,
]

/**
 * Starts a node.
 * @param signal ends a start that is under way, with its reason; of no effect once the node is up
 * @throws MeshError E_CONFIG, E_INSECURE_FILE, E_IDENTITY, E_ALREADY_RUNNING, E_JOURNAL_*
 */
export async function runDaemon(
  options: DaemonOptions = {},
  signal: AbortSignal = new AbortController().signal,
): Promise<RunningDaemon> {
  const setting = await settle(options)
  const daemon = new Daemon(setting)
  try {
    await daemon.start(signal)
  } catch (error) {
    await daemon.stop(0)
    throw error
  }
  return daemon
}

/** "/ip4/.../p2p/<id>" as a peer to dial; anything else was refused with the configuration. */
function bootstrapPeer(address: string): { peer: string; addresses: readonly string[] }[] {
  const peer = /\/p2p\/(\w+)$/.exec(address)?.[1]
  return peer === undefined ? [] : [{ peer, addresses: [address] }]
}

/** Longest wait for a first peer before hands and API are started, milliseconds. */
const FIRST_PEER_MS = 250

class Daemon implements RunningDaemon {
  readonly id: string
  readonly paths: Paths
  readonly #setting: Setting
  readonly #startedAt = Date.now()
  readonly #events = new MeshEventLog()
  readonly #alarms = new FloodGate()
  readonly #firstPeer = Promise.withResolvers<void>()
  readonly #stopped = Promise.withResolvers<void>()
  /** How to end what was started, in order of starting */
  readonly #closers: { readonly name: string; close(drainMs: number): Promise<void> | void }[] = []
  #stopping: Promise<void> | undefined
  #net: MeshNet | undefined
  #membership: MembershipService | undefined
  #served: Served | undefined
  /** What this node can do for the mesh: nothing, until its hands are there */
  #offers: () => Offer = () => ({ executors: [], labels: [] })
  /** Capabilities beside hands */
  #labels: readonly string[] = []
  #joinedAfterMs: number | undefined

  constructor(setting: Setting) {
    this.#setting = setting
    this.id = setting.identity.nodeId
    this.paths = setting.paths
  }

  get name(): string {
    return this.#setting.mesh.nodeName
  }

  get mesh(): RunningDaemon['mesh'] {
    const { meshId, meshName } = this.#setting.mesh
    return { id: meshId, name: meshName, members: this.#membership?.members().size ?? 0 }
  }

  get addresses(): readonly string[] {
    return this.#net?.addresses() ?? []
  }

  get api(): ApiAddress {
    return this.#served?.api ?? { socket: this.paths.socket }
  }

  get stopped(): Promise<void> {
    return this.#stopped.promise
  }

  stop(drainMs: number = this.#setting.loaded.config.drainMs): Promise<void> {
    this.#stopping ??= this.#stop(drainMs)
    return this.#stopping
  }

  /** Everything between two looks at the signal takes a moment, or hears it too. */
  async start(signal: AbortSignal): Promise<void> {
    const { loaded, paths, identity, mesh, logger } = this.#setting
    const { config } = loaded
    const journal = await this.#openJournal(signal)
    signal.throwIfAborted()
    const membership = await MembershipService.open({ journal, mesh, signer: identity.signer, version: VERSION })
    this.#membership = membership
    this.#closers.push({ name: 'membership', close: () => membership.close() })
    const directory = await DirectoryService.open({
      journal,
      membership,
      signer: identity.signer,
      version: VERSION,
      offer: () => {
        const { executors, labels } = this.#offers()
        return { executors, labels: [...config.labels, ...labels, ...this.#labels] }
      },
      cardTtlMs: config.discovery.cardTtlMs,
      bootstrap: config.discovery.bootstrap.flatMap(bootstrapPeer),
      labelIndex: config.discovery.dht,
      onAlarm: (what, detail) => this.#alarm(what, detail),
    })
    signal.throwIfAborted()
    const { net, joins, dialed } = await this.#joinNetwork(membership, directory)
    await this.#greeted(net, dialed)
    signal.throwIfAborted()
    const { serve } = await import('./serve.ts')
    this.#served = await serve({
      setting: this.#setting,
      journal,
      membership,
      directory,
      net,
      joins,
      events: this.#events,
      onOffers: (offers) => {
        this.#offers = offers
      },
      onLabels: (labels) => {
        this.#labels = labels
      },
      status: () => ({ startedAt: this.#startedAt, joinedAfterMs: this.#joinedAfterMs }),
      shutdown: (drainMs) => void this.stop(drainMs),
      onClose: (name, close) => this.#closers.push({ name, close }),
    })
    const name = membership.member(this.id)?.name ?? mesh.nodeName
    if (config.name !== '' && config.name !== name)
      logger.warn(
        { name, configured: config.name },
        'the node keeps its name: the configured one counts at first start and at join',
      )
    logger.info({ id: this.id, mesh: mesh.meshId, addresses: net.addresses(), socket: paths.socket }, 'the node is up')
  }

  /** Loading the rest would hold up handshakes and hellos: they go first, where somebody answers at all and as long as they do not take long. */
  async #greeted(net: MeshNet, dialed: Promise<void>): Promise<void> {
    const alone = dialed.then(() => (net.connections().length > 0 ? this.#firstPeer.promise : undefined))
    await Promise.race([alone, this.#firstPeer.promise, new Promise((resolve) => setTimeout(resolve, FIRST_PEER_MS))])
  }

  /** Listens, and dials whom it knows; does not wait for them. */
  async #joinNetwork(
    membership: MembershipService,
    directory: DirectoryService,
  ): Promise<{ net: MeshNet; joins: JoinServer; dialed: Promise<void> }> {
    const { loaded, paths, identity, mesh, logger } = this.#setting
    const { net: wanted, discovery } = loaded.config
    const ports = join(paths.stateDir, 'ports.json')
    const prepared = await prepareNet({
      meshId: mesh.meshId,
      seed: identity.seed,
      networkKey: mesh.networkKey,
      gate: membership.gate,
      listen: await withKeptPorts(wanted.listen, ports),
      announce: wanted.announce,
      allowLoopback: wanted.allowLoopback,
      allowPrivate: wanted.allowPrivate,
      mdns: discovery.mdns,
      dht: discovery.dht,
      maxConnections: wanted.connections,
      inboundPerSecond: wanted.inboundPerSecond,
    })
    const { net } = prepared
    this.#net = net
    this.#closers.push({ name: 'network', close: () => net.close() })
    membership.attach(net, () => directory.ownCard())
    directory.attach(net)
    this.#closers.push({ name: 'directory', close: () => directory.close() })
    const joins = new JoinServer(membership, net)
    this.#reportMembership(membership)
    await prepared.start()
    await keepPorts(wanted.listen, net.addresses(), ports)
    const dialed = directory.start()
    dialed.catch((error: unknown) => logger.warn({ err: error }, 'the first dials failed'))
    return { net, joins, dialed }
  }

  async #openJournal(signal: AbortSignal): Promise<Journal> {
    const { paths, logger, isNew } = this.#setting
    const journal = await openLevelJournal({
      folder: paths.journalDir,
      markFile: paths.journalMark,
      types: JOURNAL_RECORDS,
      create: isNew || !existsSync(startedMark(paths)),
      signal,
      onBatch: (records, seconds) => this.#served?.metrics.journalBatch(records, seconds),
      onHealth: (health) => {
        logger.warn({ health }, 'the journal changed its health')
        if (health.state === 'failing') this.#events.add({ type: 'alarm', what: 'journal', detail: health.reason })
      },
    })
    this.#closers.push({ name: 'journal', close: () => journal.close() })
    if (isNew || !existsSync(startedMark(paths))) await writeFileAtomic(startedMark(paths), `${VERSION}\n`)
    return journal
  }

  #reportMembership(membership: MembershipService): void {
    const { logger, mesh } = this.#setting
    const { meshId } = mesh
    membership.on((event) => {
      switch (event.type) {
        case 'ready':
          this.#joinedAfterMs ??= Math.round(performance.now())
          this.#firstPeer.resolve()
          return this.#events.add({
            type: 'peer-up',
            peer: event.peer,
            name: membership.member(event.peer)?.name ?? '',
          })
        case 'joined':
          logger.info({ peer: event.peer, name: event.name }, 'a node joined the mesh')
          return this.#events.add({
            type: 'member-joined',
            peer: event.peer,
            name: event.name,
            fingerprint: fingerprint(meshId, this.id, event.peer),
          })
        case 'expelled':
          logger.warn({ peer: event.peer, epoch: event.epoch }, 'a node was put out of the mesh')
          return this.#events.add({ type: 'member-revoked', peer: event.peer, name: event.name, epoch: event.epoch })
        case 'alarm':
          return this.#alarm(event.what, event.detail)
        case 'hello':
          return undefined
      }
    })
    this.#net?.on((event) => {
      if (event.type !== 'peer-down') return
      this.#events.add({
        type: 'peer-down',
        peer: event.peer,
        name: membership.member(event.peer)?.name ?? '',
        reason: event.reason,
      })
    })
  }

  /** A member can cause some at will: they must not push out the events that are kept. */
  #alarm(what: string, detail: string): void {
    this.#setting.logger.warn({ what, detail }, 'alarm')
    const leftOut = this.#alarms.pass(what)
    if (leftOut === undefined) return
    const more = leftOut === 0 ? '' : ` (${leftOut} alarms like this were left out before)`
    this.#events.add({ type: 'alarm', what, detail: `${detail}${more}` })
  }

  async #stop(drainMs: number): Promise<void> {
    const { logger } = this.#setting
    for (const { name, close } of this.#closers.reverse()) {
      try {
        await close(drainMs)
      } catch (error) {
        logger.error({ err: error, part: name }, 'a part did not stop cleanly')
      }
    }
    logger.info('the node is down')
    this.#stopped.resolve()
  }
}
