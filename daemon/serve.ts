/** The second half of the composition root: hands, task engine and local API of a node that is on its way into the mesh. */
import { rm } from 'node:fs/promises'
import { verifyReceipt } from '../protocol/receipt/receipt.ts'
import { VERSION } from '../protocol/version.ts'
import { LazyArtifacts } from './artifacts/lazy-artifacts.ts'
import { artifactRowsOf } from './artifacts/task-files/files-row.ts'
import { type ApiAddress, type ApiServer, createApiServer } from './api/server.ts'
import { openTokens } from './api/tokens.ts'
import { diagnose } from './doctor.ts'
import { createIsolateExecutor, type IsolateExecutor } from './exec/isolate/isolate-executor.ts'
import { writeFileAtomic } from './files/atomic-file.ts'
import { watchEventLoop } from './observe/event-loop.ts'
import { createMetrics, type Metrics, type MetricSources } from './observe/metrics.ts'
import { normaliseProgram } from './programs/program.ts'
import { LaterSandboxes } from './sandboxes/later-sandboxes.ts'
import type { ServeParts } from './serve-parts.ts'
import { statusOf } from './status.ts'
import { composeTasks, type TaskParts } from './tasks/compose.ts'
import type { GoesWith } from './tasks/retention.ts'

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
  const { api, metrics, artifacts } = await startApi(parts, executor, tasks, later)
  parts.onOffers(() => {
    const { executors, labels } = later.parts?.offer() ?? { executors: [], labels: [] }
    return { executors: [...tasks.offers(), ...executors], labels }
  })
  later.start({ services: artifacts.services, git: artifacts.git }, executor)
  return { tasks, metrics, api }
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
  const goesWith: GoesWith = (task) => artifactRowsOf(journal, task)
  const facts = { config: loaded.config, executor, identity, journal, net, directory, logger }
  const tasks = composeTasks({ ...facts, fetch, goesWith })
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
  { clients, artifacts }: Pick<MetricSources, 'clients' | 'artifacts'>,
): Metrics {
  const loop = watchEventLoop()
  onClose('event loop monitor', () => loop.close())
  const metrics = createMetrics(
    {
      ...tasks.metricSources(directory, net),
      ...{ clients, artifacts },
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
): Promise<{ api: ApiAddress; metrics: Metrics; artifacts: LazyArtifacts }> {
  const { setting, journal, membership, directory, net, joins, events, status, shutdown, onClose } = parts
  const { loaded, paths, identity, mesh, logger } = setting
  const { config } = loaded
  const metrics = startMetrics(parts, tasks, later, {
    clients: () => server.clients(),
    artifacts: () => artifacts.figures(),
  })
  const tokens = await openTokens(paths.tokenFile, paths.tokensFile)
  const artifacts = new LazyArtifacts({ parts, tasks: tasks.engine, receipts: tasks.receipts, tokens })
  onClose('artifacts', () => artifacts.close())
  /** Known once it listens */
  let apiUrl: string | undefined = undefined
  const server: ApiServer = createApiServer({
    services: {
      tasks: artifacts.tasks,
      artifacts: artifacts.services,
      git: artifacts.git,
      sandboxes: async () => (await later.ready).desk,
      egress: async () => (await later.ready).egress,
      events,
      metrics,
      compile: normaliseProgram,
      status: () =>
        statusOf({ identity, mesh, membership, directory, net, tasks, journal, paths, ...status(), apiUrl }),
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
    tokens,
    config: config.api,
    socket: paths.socket,
    version: VERSION,
    logger,
  })
  onClose('local API', (drainMs) => server.close(Math.min(drainMs, 1_000)))
  const api = await server.listen()
  await writeFileAtomic(paths.socketFile, JSON.stringify({ socket: api.socket, folder: paths.dataDir }))
  onClose('file of the socket', () => rm(paths.socketFile, { force: true }))
  apiUrl = api.url
  artifacts.begin(api.url)
  return { api, metrics, artifacts }
}
