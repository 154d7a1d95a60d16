/** Puts the artifacts of a node together. Loaded after the node has joined and answers: nothing of a start waits for it. */
import type { ArtifactEvent as ApiEvent } from '../../protocol/api.ts'
import { MeshError } from '../../protocol/errors.ts'
import type { ArtifactServices } from '../api/artifact-services.ts'
import type { GitHandler } from '../api/git-mount.ts'
import type { Tokens } from '../api/tokens.ts'
import type { Config } from '../config/schema.ts'
import type { DirectoryService } from '../discovery/directory-service.ts'
import type { Identity } from '../identity/identity.ts'
import type { MembershipService } from '../identity/membership-service.ts'
import type { Journal } from '../journal/journal.ts'
import type { MeshNet } from '../net/mesh-net.ts'
import type { Tasks } from '../tasks/tasks.ts'
import { ArtifactService } from './artifact-service.ts'
import { Content } from './content/content.ts'
import { ContentDesk } from './content-desk.ts'
import { eventsOf } from './events.ts'
import { type ArtifactFigures, Figures } from './figures.ts'
import { forgetArtifact } from './forget-artifact.ts'
import { createGitDoor } from './git-door/git-door.ts'
import { LargeFiles } from './large-files/large-files.ts'
import { Replication } from './replicate/replication.ts'
import { Reviews } from './review/reviews.ts'
import type { ArtifactEvent } from './store/artifact-store.ts'
import { probeGit } from './store/git-tools.ts'
import { openArtifactStore, type OpenStore } from './store/journal-store.ts'
import type { Quotas } from './store/usage.ts'
import { TriggerBook } from './triggers/trigger-book.ts'

export interface ArtifactPartsOptions {
  readonly config: Config['artifacts']
  /** Folder of the repositories */
  readonly folder: string
  readonly identity: Identity
  readonly journal: Journal
  readonly net: MeshNet
  readonly membership: MembershipService
  readonly directory: DirectoryService
  readonly tokens: Pick<Tokens, 'check'>
  /** With artifacts as input and output */
  readonly tasks: Pick<Tasks, 'get' | 'run'>
  /** Of the loopback listener; undefined: there is none */
  readonly url: string | undefined
  readonly onEvent: (event: ApiEvent) => void
  readonly logger: { warn(facts: object, message: string): void }
}

export interface ArtifactParts {
  readonly services: ArtifactServices
  readonly git: GitHandler
  figures(): ArtifactFigures
  close(): Promise<void>
}

/** Says on a node's card that it holds artifacts, for itself and for others. */
export const ARTIFACT_LABEL = 'artifact'

/** @throws MeshError E_GIT_MISSING when there is no usable Git; E_STORAGE */
export async function composeArtifacts(options: ArtifactPartsOptions): Promise<ArtifactParts> {
  const git = await probeGit()
  if (!git.ok) throw new MeshError('E_GIT_MISSING', `Cannot use artifacts: ${git.reason}`, { hint: git.hint })
  const { membership, journal, identity, logger } = options
  const note = (what: string, facts: Readonly<Record<string, unknown>>): void => logger.warn({ ...facts }, what)
  const store = await openArtifactStore({
    root: options.folder,
    journal,
    signer: identity.signer,
    quotas: quotasOf(options.config),
    isMember: (node) => membership.isMember(node),
    forget: (artifact) => forgetArtifact(journal, artifact),
    onFault: (what, error) => logger.warn({ err: error }, what),
  })
  return connect(options, store, note)
}

function quotasOf(config: Config['artifacts']): Quotas {
  return {
    artifactBytes: config.artifactBytes,
    agentBytes: config.agentBytes,
    agentArtifacts: config.agentArtifacts,
    nodeBytes: config.nodeBytes,
    nodeArtifacts: config.nodeArtifacts,
  }
}

async function connect(
  options: ArtifactPartsOptions,
  store: OpenStore,
  note: (what: string, facts: Readonly<Record<string, unknown>>) => void,
): Promise<ArtifactParts> {
  const { journal, net, membership, directory, identity, tokens, onEvent, config } = options
  const { signer } = identity
  const content = new ContentDesk(store, new Content(store))
  const door = createGitDoor({
    store,
    journal,
    callerOf: (token) => tokens.check(token),
    onFault: (error) => note('a Git client was not served', { err: error }),
  })
  const replication = new Replication({
    net,
    store,
    journal,
    signer,
    isMember: (node) => membership.isMember(node),
    isAble: (node) => directory.nodes().some((one) => one.node === node && one.labels.includes(ARTIFACT_LABEL)),
    note,
    lacks: (artifact) => large.lacks(artifact),
  })
  const large: LargeFiles = new LargeFiles({ net, store, journal, files: door.files, replicas: replication, note })
  const triggers = new TriggerBook({
    ...{ store, journal, onEvent, note },
    tasks: options.tasks,
    wallMs: Date.now,
    now: () => performance.now(),
  })
  const reviews = new Reviews({
    store,
    signer,
    merge: (artifact, from, into, message, by) => service.mergeFor(artifact, from, into, message, by),
    titleOf: (artifact, commit) => service.titleOf(artifact, commit),
    onEvent: (artifact, proposal, what) => onEvent({ type: 'proposal', artifact, proposal, what }),
    now: Date.now,
  })
  const service: ArtifactService = new ArtifactService({
    ...{ store, content, journal, gitTokens: door.tokens, replication, reviews, triggers },
    importHosts: config.importHosts,
    replicas: config.replicas,
    url: options.url,
    isTask: (id) => options.tasks.get(id) !== undefined,
    nameOf: (node) => membership.member(node)?.name,
    rttMs: (node) => net.rttMs(node),
  })
  const figures = new Figures(
    () => store.usage(),
    () => replication.figures(),
  )
  const ends = [
    store.on((event: ArtifactEvent) => {
      figures.happened(event)
      for (const told of eventsOf(event)) onEvent(told)
    }),
    replication.on((event) => {
      if (event.type === 'held') onEvent({ type: 'artifact-held', artifact: event.artifact, node: event.peer })
      else {
        figures.fetched(event.records)
        onEvent({ type: 'artifact-fetched', artifact: event.artifact, node: event.peer, records: event.records })
      }
    }),
    membership.on((event) => {
      if (event.type !== 'ready' && event.type !== 'expelled') return
      replication[event.type](event.peer)
      large[event.type](event.peer)
    }),
  ]
  replication.start()
  large.start()
  for (const { peer, ready } of net.connections()) {
    if (!ready) continue
    replication.ready(peer)
    large.ready(peer)
  }
  await triggers.recover()
  return {
    services: service,
    async git(request, response, signal, way) {
      await door.handle(request, response, signal, way)
      figures.answered(request.method, request.url, response.statusCode)
    },
    figures: () => figures.read(),
    async close() {
      for (const end of ends) end()
      await triggers.close()
      await door.close()
      await large.close()
      await replication.close()
      await store.close()
    },
  }
}
