/** The second half of the composition root: hands, task engine and local API of a node that is on its way into the mesh. */
import { verifyReceipt } from '../protocol/receipt/receipt.ts'
import { VERSION } from '../protocol/version.ts'
import type { MeshEventLog } from './api/mesh-event-log.ts'
import { type ApiAddress, type ApiServer, createApiServer } from './api/server.ts'
import { openTokens } from './api/tokens.ts'
import { MeshError } from '../protocol/errors.ts'
import type { DirectoryService } from './discovery/directory-service.ts'
import type { Offer } from './discovery/own-card.ts'
import { diagnose } from './doctor.ts'
import { createIsolateExecutor, type IsolateExecutor } from './exec/isolate/isolate-executor.ts'
import type { JoinServer } from './identity/join-server.ts'
import type { MembershipService } from './identity/membership-service.ts'
import type { Journal } from './journal/journal.ts'
import type { MeshNet } from './net/mesh-net.ts'
import { watchEventLoop } from './observe/event-loop.ts'
import { createMetrics, type Metrics } from './observe/metrics.ts'
import { normaliseProgram } from './programs/program.ts'
import type { SandboxParts } from './sandboxes/compose.ts'
import type { Setting } from './setting.ts'
import { type StatusSources, statusOf } from './status.ts'
import { composeTasks, type TaskParts } from './tasks/compose.ts'

export interface ServeParts {
  readonly setting: Setting
  readonly journal: Journal
  readonly membership: MembershipService
  readonly directory: DirectoryService
  readonly net: MeshNet
  readonly joins: JoinServer
  readonly events: MeshEventLog
  /** From now on this node offers what the function says */
  readonly onOffers: (offers: () => Offer) => void
  readonly status: () => Pick<StatusSources, 'startedAt' | 'joinedAfterMs'>
  readonly shutdown: (drainMs: number | undefined) => void
  /** Says how to end what was started; ended in reverse order */
  readonly onClose: (name: string, close: (drainMs: number) => Promise<void> | void) => void
}

export interface Served {
  readonly tasks: TaskParts
  readonly metrics: Metrics
  readonly api: ApiAddress
}

/** @throws MeshError E_ALREADY_RUNNING, E_INSECURE_FILE, E_STORAGE */
export async function serve(parts: ServeParts): Promise<Served> {
  const executor = await startExecutor(parts)
  const later = new LaterSandboxes(parts)
  const tasks = await startTasks(parts, executor, later)
  const { api, metrics } = await startApi(parts, executor, tasks, later)
  parts.onOffers(() => {
    const { executors, labels } = later.parts?.offer() ?? { executors: [], labels: [] }
    return { executors: [...tasks.offers(), ...executors], labels }
  })
  later.start()
  return { tasks, metrics, api }
}

/** Sandboxes and the door, which a node needs long after its start, if at all: what asks for them before they are there waits. */
class LaterSandboxes {
  readonly #options: ServeParts
  readonly #made = Promise.withResolvers<SandboxParts>()
  #parts: SandboxParts | undefined
  #started = false
  #closed = false

  constructor(options: ServeParts) {
    this.#options = options
    this.#made.promise.catch(() => undefined)
    options.onClose('sandboxes', () => this.#close())
    options.membership.on((event) => {
      if (event.type === 'expelled') this.#parts?.fence(event.peer)
      if (event.type === 'ready') this.#parts?.peerReady(event.peer)
    })
  }

  get parts(): SandboxParts | undefined {
    return this.#parts
  }

  /** @throws MeshError why they could not be made */
  get ready(): Promise<SandboxParts> {
    return this.#made.promise
  }

  start(): void {
    this.#started = true
    this.#make().then(this.#made.resolve, (error: unknown) => {
      this.#options.setting.logger.error({ err: error }, 'this node has no sandboxes and no door')
      this.#made.reject(error)
    })
  }

  async #make(): Promise<SandboxParts> {
    const { setting, journal, net, directory, membership } = this.#options
    const { composeSandboxes } = await import('./sandboxes/compose.ts')
    const parts = await composeSandboxes({
      config: setting.loaded.config,
      paths: setting.paths,
      journal,
      net,
      directory,
      env: setting.env,
      nodeName: () => membership.member(net.self)?.name ?? setting.mesh.nodeName,
      warn: (facts, message) => setting.logger.warn(facts, message),
    })
    if (this.#closed) {
      await parts.close()
      throw new MeshError('E_STOPPING', 'The daemon is shutting down')
    }
    this.#parts = parts
    directory.changed()
    return parts
  }

  async #close(): Promise<void> {
    this.#closed = true
    if (!this.#started) return
    const parts = await this.#made.promise.catch(() => undefined)
    await parts?.close()
  }
}

async function startExecutor({ setting, onClose }: ServeParts): Promise<IsolateExecutor> {
  const { executor: wanted } = setting.loaded.config
  const executor = await createIsolateExecutor({
    warmMemoryBytes: wanted.defaults.memoryBytes,
    maxHosts: wanted.hosts,
    jobsBeforeRecycling: wanted.recycleJobs,
    warmIsolates: wanted.warm,
  })
  onClose('executor', () => executor.close())
  return executor
}

async function startTasks(parts: ServeParts, executor: IsolateExecutor, later: LaterSandboxes): Promise<TaskParts> {
  const { setting, journal, net, directory, membership, events, onOffers, onClose } = parts
  const { loaded, identity, logger } = setting
  const fetch = async (task: string, argsJson: string, signal: AbortSignal): Promise<string> =>
    (await later.ready).fetch(task, argsJson, signal)
  const tasks = composeTasks({ config: loaded.config, executor, identity, journal, net, directory, logger, fetch })
  onClose('tasks', (drainMs) => tasks.close(drainMs))
  onOffers(() => ({ executors: tasks.offers(), labels: [] }))
  directory.changed()
  tasks.engine.onChange((task) => {
    const { id, kind, state, name } = task
    events.add({ type: 'task', task: id, kind, state, ...(name === undefined ? {} : { name }) })
  })
  membership.on((event) => {
    if (event.type === 'expelled') tasks.fence(event.peer)
  })
  await tasks.engine.recover()
  void executor.warm()
  return tasks
}

function startMetrics(
  { directory, net, onClose }: ServeParts,
  tasks: TaskParts,
  later: LaterSandboxes,
  clients: () => ReturnType<ApiServer['clients']>,
): Metrics {
  const loop = watchEventLoop()
  onClose('event loop monitor', () => loop.close())
  const metrics = createMetrics(
    {
      ...tasks.metricSources(directory, net),
      clients,
      sandboxes: () => later.parts?.states() ?? {},
      egress: () => later.parts?.egress.state(),
    },
    loop,
  )
  tasks.engine.onChange(({ state, createdAt, endedAt }) => {
    if (endedAt !== undefined) metrics.taskEnded(state, (Date.parse(endedAt) - Date.parse(createdAt)) / 1000)
  })
  return metrics
}

async function startApi(
  parts: ServeParts,
  executor: IsolateExecutor,
  tasks: TaskParts,
  later: LaterSandboxes,
): Promise<{ api: ApiAddress; metrics: Metrics }> {
  const { setting, journal, membership, directory, net, joins, events, status, shutdown, onClose } = parts
  const { loaded, paths, identity, mesh, logger } = setting
  const { config } = loaded
  const metrics = startMetrics(parts, tasks, later, () => server.clients())
  const server: ApiServer = createApiServer({
    services: {
      tasks: tasks.engine,
      sandboxes: async () => (await later.ready).desk,
      egress: async () => (await later.ready).egress,
      events,
      metrics,
      compile: normaliseProgram,
      status: () => statusOf({ identity, mesh, membership, directory, net, tasks, journal, paths, ...status() }),
      peers: () => directory.peers(),
      capabilities: (label) => directory.capabilities(label),
      doctor: () =>
        diagnose({
          ...{ config, paths, jail: executor.jail, journal, net, membership, directory },
          more: async () => (await later.ready).doctor(),
        }),
      config: () => ({ config, origin: loaded.origin }),
      members: () => membership.view(),
      invite: (request) => joins.invite(request),
      revoke: (id) => membership.revoke(id),
      verifyReceipt,
      shutdown,
    },
    tokens: await openTokens(paths.tokenFile, paths.tokensFile),
    config: config.api,
    socket: paths.socket,
    version: VERSION,
    logger,
  })
  onClose('local API', (drainMs) => server.close(Math.min(drainMs, 1_000)))
  return { api: await server.listen(), metrics }
}
