/**
 * The composition root: the one place that knows every part and puts them together.
 *
 * Start, each step using only what came before:
 *   1 configuration and paths  2 identity and mesh  3 journal  4 membership and directory  5 network, not listening  6 tasks: hands, engine, service for peers
 *   7 network listens and dials  8 tasks from before the restart are taken up  9 local API
 * Stop, in reverse: the API takes no more, work drains, leases end, network, executor, and the journal last, so that everything before can still be stored.
 */
import { existsSync } from 'node:fs'
import { hostname, userInfo } from 'node:os'
import { join } from 'node:path'
import { MeshError } from '../protocol/errors.ts'
import { fingerprint, parseInvite } from '../protocol/membership/invite.ts'
import { VERSION } from '../protocol/version.ts'
import { MeshEventLog } from './api/mesh-event-log.ts'
import { type ApiAddress, type ApiServer, createApiServer } from './api/server.ts'
import { openTokens } from './api/tokens.ts'
import { loadConfig, type LoadedConfig } from './config/load.ts'
import { type Paths, resolvePaths } from './config/paths.ts'
import { DISCOVERY_RECORDS } from './discovery/address-book.ts'
import { DirectoryService } from './discovery/directory-service.ts'
import { diagnose } from './doctor.ts'
import { createIsolateExecutor } from './exec/isolate/isolate-executor.ts'
import { writeFileAtomic } from './files/atomic-file.ts'
import { ensurePrivateFolder } from './files/private-file.ts'
import { createIdentity, findIdentity, type Identity, readIdentity } from './identity/identity.ts'
import { inviteFingerprint, joinMesh as joinByInvite } from './identity/join-client.ts'
import { JoinServer } from './identity/join-server.ts'
import { findMesh, foundMesh, type Mesh, writeMesh } from './identity/mesh-file.ts'
import { MembershipService } from './identity/membership-service.ts'
import { MEMBERSHIP_RECORDS } from './identity/membership-store.ts'
import type { Journal } from './journal/journal.ts'
import { openLevelJournal } from './journal/level-journal.ts'
import { keepPorts, withKeptPorts } from './net/kept-ports.ts'
import { createNet, type PreparedNet, prepareNet } from './net/libp2p-net.ts'
import { watchEventLoop } from './observe/event-loop.ts'
import { logFile, standardError } from './observe/log-file.ts'
import { createLogger, type Logger } from './observe/logger.ts'
import { createMetrics, type Metrics } from './observe/metrics.ts'
import { normaliseProgram } from './programs/program.ts'
import { statusOf } from './status.ts'
import { composeTasks, TASK_ENGINE_RECORDS, type TaskParts } from './tasks/compose.ts'
import { verifyReceipt } from '../protocol/receipt/receipt.ts'

export interface DaemonOptions {
  /** @default process.env */
  readonly env?: Readonly<Record<string, string | undefined>>
  /** Configuration by dotted key, above file and environment */
  readonly flags?: Readonly<Record<string, string>>
  /** Configuration file; must exist when given. @default the one of the paths */
  readonly configFile?: string
}

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

const JOURNAL_RECORDS = [...MEMBERSHIP_RECORDS, ...DISCOVERY_RECORDS, ...TASK_ENGINE_RECORDS]

/** Starts a node. @throws MeshError E_CONFIG, E_INSECURE_FILE, E_IDENTITY, E_ALREADY_RUNNING, E_JOURNAL_* */
export async function runDaemon(options: DaemonOptions = {}): Promise<RunningDaemon> {
  const setting = await settle(options)
  const daemon = new Daemon(setting)
  try {
    await daemon.start()
  } catch (error) {
    await daemon.stop(0)
    throw error
  }
  return daemon
}

export interface JoinResult {
  readonly meshId: string
  readonly meshName: string
  readonly nodeId: string
  readonly name: string
  /** Of the invite: `manyhands invite` showed the same */
  readonly inviteFingerprint: string
  /** Of this node and the inviter: the inviter's event of the join shows the same */
  readonly fingerprint: string
}

/**
 * Joins a mesh before the daemon runs.
 * @throws MeshError E_INVITE, E_CONFLICT when this node belongs to a mesh already, E_UNREACHABLE
 */
export async function joinMesh(
  text: string,
  options: DaemonOptions & { readonly name?: string; readonly signal?: AbortSignal } = {},
): Promise<JoinResult> {
  const { paths, config } = pathsAndConfig(options)
  const before = await findMesh(paths.meshFile)
  const invite = parseInvite(text)
  if (before !== undefined) {
    const same = before.meshId === invite.meshId
    throw new MeshError(
      'E_CONFLICT',
      `Cannot join: this node belongs to ${same ? 'that mesh' : `mesh "${before.meshName}"`} already`,
      {
        hint: same ? 'Start it with `manyhands up`.' : 'Use another MANYHANDS_HOME for a second node on this host.',
      },
    )
  }
  await ensurePrivateFolder(paths.dataDir)
  const identity = await createIdentity(paths.identityFile)
  const nodeName = options.name ?? (config.name || hostname())
  const joined = await joinByInvite({
    invite,
    signer: identity.signer,
    nodeName,
    createNet: (join) => createNet({ ...join, listen: [], allowLoopback: true, allowPrivate: true }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  })
  const { mesh } = joined
  await writeMesh(paths.meshFile, mesh)
  const { meshId, meshName } = mesh
  const prints = { inviteFingerprint: inviteFingerprint(invite), fingerprint: joined.fingerprint }
  return { meshId, meshName, nodeId: identity.nodeId, name: mesh.nodeName, ...prints }
}

interface Setting {
  readonly loaded: LoadedConfig
  readonly paths: Paths
  readonly identity: Identity
  readonly mesh: Mesh
  readonly logger: Logger
  /** Whether a journal may be made: only on a host that never had one */
  readonly isNew: boolean
}

function pathsAndConfig(options: DaemonOptions): LoadedConfig & { readonly paths: Paths } {
  const env = options.env ?? process.env
  const { uid, homedir } = userInfo()
  const paths = resolvePaths(env, uid, homedir)
  const file = options.configFile ?? paths.configFile
  const loaded = loadConfig({ file, fileRequired: options.configFile !== undefined, env, flags: options.flags ?? {} })
  return { ...loaded, paths }
}

async function settle(options: DaemonOptions): Promise<Setting> {
  const { paths, ...loaded } = pathsAndConfig(options)
  const { config } = loaded
  for (const folder of [paths.dataDir, paths.stateDir, paths.runDir]) await ensurePrivateFolder(folder)
  const found = await findMesh(paths.meshFile)
  const isNew = found === undefined && (await findIdentity(paths.identityFile)) === undefined
  const identity = isNew ? await createIdentity(paths.identityFile) : await readIdentity(paths.identityFile)
  const nodeName = config.name || found?.nodeName || hostname()
  const mesh = found ?? foundMesh(identity.signer, `${nodeName}'s mesh`, nodeName)
  if (found === undefined) await writeMesh(paths.meshFile, mesh)
  const sink = config.log.file ? logFile(paths.logFile, config.log.maxBytes) : standardError()
  const logger = createLogger({ level: config.log.level, sink, node: mesh.nodeName })
  return { loaded, paths, identity, mesh, logger, isNew }
}

/** Beside the identity: a node that has run before never begins an empty journal in silence. */
function startedMark(paths: Paths): string {
  return join(paths.dataDir, 'started')
}

/** "/ip4/.../p2p/<id>" as a peer to dial; anything else was refused with the configuration. */
function bootstrapPeer(address: string): { peer: string; addresses: readonly string[] }[] {
  const peer = /\/p2p\/(\w+)$/.exec(address)?.[1]
  return peer === undefined ? [] : [{ peer, addresses: [address] }]
}

class Daemon implements RunningDaemon {
  readonly id: string
  readonly paths: Paths
  readonly #setting: Setting
  readonly #startedAt = Date.now()
  readonly #events = new MeshEventLog()
  readonly #stopped = Promise.withResolvers<void>()
  /** How to end what was started, in order of starting */
  readonly #closers: { readonly name: string; close(drainMs: number): Promise<void> | void }[] = []
  #stopping: Promise<void> | undefined
  #net: PreparedNet | undefined
  #membership: MembershipService | undefined
  #tasks: TaskParts | undefined
  #metrics: Metrics | undefined
  #api: ApiAddress | undefined
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
    return this.#net?.net.addresses() ?? []
  }

  get api(): ApiAddress {
    return this.#api ?? { socket: this.paths.socket }
  }

  get stopped(): Promise<void> {
    return this.#stopped.promise
  }

  stop(drainMs: number = this.#setting.loaded.config.drainMs): Promise<void> {
    this.#stopping ??= this.#stop(drainMs)
    return this.#stopping
  }

  async start(): Promise<void> {
    const { loaded, paths, identity, mesh, logger, isNew } = this.#setting
    const { config } = loaded
    const executorReady = createIsolateExecutor({
      warmMemoryBytes: config.executor.defaults.memoryBytes,
      maxHosts: config.executor.hosts,
      jobsBeforeRecycling: config.executor.recycleJobs,
      warmIsolates: config.executor.warm,
    })
    executorReady.catch(() => undefined)
    const journal = await this.#openJournal(isNew)
    const membership = await MembershipService.open({ journal, mesh, signer: identity.signer, version: VERSION })
    this.#membership = membership
    this.#closers.push({ name: 'membership', close: () => membership.close() })
    const directory = await DirectoryService.open({
      journal,
      membership,
      signer: identity.signer,
      version: VERSION,
      offer: () => ({ executors: this.#tasks?.offers() ?? [], labels: config.labels }),
      cardTtlMs: config.discovery.cardTtlMs,
      bootstrap: config.discovery.bootstrap.flatMap(bootstrapPeer),
      labelIndex: config.discovery.dht,
      onAlarm: (what, detail) => this.#events.add({ type: 'alarm', what, detail }),
    })
    const prepared = await prepareNet({
      meshId: mesh.meshId,
      seed: identity.seed,
      networkKey: mesh.networkKey,
      gate: membership.gate,
      listen: await withKeptPorts(config.net.listen, join(paths.stateDir, 'ports.json')),
      announce: config.net.announce,
      allowLoopback: config.net.allowLoopback,
      allowPrivate: config.net.allowPrivate,
      mdns: config.discovery.mdns,
      dht: config.discovery.dht,
      maxConnections: config.net.connections,
      inboundPerSecond: config.net.inboundPerSecond,
    })
    this.#net = prepared
    const { net } = prepared
    this.#closers.push({ name: 'network', close: () => net.close() })
    membership.attach(net, () => directory.ownCard())
    directory.attach(net)
    this.#closers.push({ name: 'directory', close: () => directory.close() })
    const joins = new JoinServer(membership, net)
    this.#reportMembership(membership)
    await prepared.start()
    await keepPorts(config.net.listen, net.addresses(), join(paths.stateDir, 'ports.json'))
    const dialed = directory.start()
    dialed.catch((error: unknown) => logger.warn({ err: error }, 'the first dials failed'))

    const executor = await executorReady
    this.#closers.push({ name: 'executor', close: () => executor.close() })
    const parts = composeTasks({ config, executor, identity, journal, net, directory, logger })
    this.#tasks = parts
    this.#closers.push({ name: 'tasks', close: (drainMs) => parts.close(drainMs) })
    directory.changed()
    parts.engine.onChange((task) => {
      const { id, kind, state, name } = task
      this.#events.add({ type: 'task', task: id, kind, state, ...(name === undefined ? {} : { name }) })
    })
    membership.on((event) => {
      if (event.type === 'expelled') parts.fence(event.peer)
    })
    await parts.engine.recover()
    void executor.warm()

    const status = () =>
      statusOf({
        identity,
        mesh,
        membership,
        directory,
        net,
        tasks: parts,
        journal,
        paths,
        startedAt: this.#startedAt,
        joinedAfterMs: this.#joinedAfterMs,
      })
    const loop = watchEventLoop()
    this.#closers.push({ name: 'event loop monitor', close: () => loop.close() })
    const sources = { ...parts.metricSources(directory, net), clients: () => server.clients() }
    const metrics = createMetrics(sources, loop)
    this.#metrics = metrics
    parts.engine.onChange((task) => {
      if (task.endedAt !== undefined)
        metrics.taskEnded(task.state, (Date.parse(task.endedAt) - Date.parse(task.createdAt)) / 1000)
    })
    const server = createApiServer({
      services: {
        tasks: parts.engine,
        events: this.#events,
        metrics,
        compile: normaliseProgram,
        status,
        peers: () => directory.peers(),
        capabilities: (label) => directory.capabilities(label),
        doctor: () => diagnose({ config, paths, jail: executor.jail, journal, net, membership, directory }),
        config: () => ({ config, origin: loaded.origin }),
        members: () => membership.view(),
        invite: (request) => joins.invite(request),
        revoke: (id) => membership.revoke(id),
        verifyReceipt,
        shutdown: (drainMs) => void this.stop(drainMs),
      },
      tokens: await openTokens(paths.tokenFile, paths.tokensFile),
      config: config.api,
      socket: paths.socket,
      version: VERSION,
      logger,
    })
    await this.#listen(server)
    logger.info({ id: this.id, mesh: mesh.meshId, addresses: net.addresses() }, 'the node is up')
  }

  async #openJournal(isNew: boolean): Promise<Journal> {
    const { paths, logger } = this.#setting
    const journal = await openLevelJournal({
      folder: paths.journalDir,
      markFile: paths.journalMark,
      types: JOURNAL_RECORDS,
      create: isNew || !existsSync(startedMark(paths)),
      onBatch: (records, seconds) => this.#metrics?.journalBatch(records, seconds),
      onHealth: (health) => {
        logger.warn({ health }, 'the journal changed its health')
        if (health.state === 'failing') this.#events.add({ type: 'alarm', what: 'journal', detail: health.reason })
      },
    })
    this.#closers.push({ name: 'journal', close: () => journal.close() })
    if (isNew || !existsSync(startedMark(paths))) await writeFileAtomic(startedMark(paths), `${VERSION}\n`)
    return journal
  }

  async #listen(server: ApiServer): Promise<void> {
    this.#closers.push({ name: 'local API', close: (drainMs) => server.close(Math.min(drainMs, 1_000)) })
    this.#api = await server.listen()
  }

  #reportMembership(membership: MembershipService): void {
    const { logger, mesh } = this.#setting
    const { meshId } = mesh
    membership.on((event) => {
      switch (event.type) {
        case 'ready':
          this.#joinedAfterMs ??= Math.round(performance.now())
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
          logger.warn({ what: event.what, detail: event.detail }, 'alarm')
          return this.#events.add(event)
        case 'hello':
          return undefined
      }
    })
    this.#net?.net.on((event) => {
      if (event.type !== 'peer-down') return
      this.#events.add({
        type: 'peer-down',
        peer: event.peer,
        name: membership.member(event.peer)?.name ?? '',
        reason: event.reason,
      })
    })
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
