/** Puts the sandboxes of a node together: executor, ways out, what peers may do here, and the desk of this node's own clients. Loaded after the start. */
import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { Check } from '../../protocol/api.ts'
import { MeshError } from '../../protocol/errors.ts'
import { LIMITS } from '../../protocol/limits.ts'
import type { Config } from '../config/schema.ts'
import type { Paths } from '../config/paths.ts'
import type { DirectoryService } from '../discovery/directory-service.ts'
import type { Offer } from '../discovery/own-card.ts'
import type { EgressDoor } from '../egress/egress.ts'
import { HandlerPrograms } from '../egress/handler-programs.ts'
import { IsolateFetch } from '../egress/isolate-fetch.ts'
import { openEgress } from '../egress/open-egress.ts'
import type { Executor } from '../exec/executor.ts'
import { createSandboxExecutor } from '../exec/sandbox/sandbox-executor.ts'
import type { SandboxExecutor } from '../exec/sandbox/sandbox.ts'
import type { Journal } from '../journal/journal.ts'
import type { MeshNet } from '../net/mesh-net.ts'
import { ArtifactDoor } from './artifact-door.ts'
import { ArtifactGrants, type ArtifactSource } from './artifact-grants.ts'
import { AwayBook } from './away-book.ts'
import { sandboxChecks } from './checks.ts'
import { SandboxDesk } from './desk.ts'
import { Doors } from './doors.ts'
import { SandboxHost } from './host.ts'
import { ownerParts } from './host-view.ts'
import { Leases } from './leases.ts'
import { SandboxPlacer } from './placer.ts'
import { RemotePlace } from './remote-place.ts'
import { Renewals } from './renewals.ts'
import { PeerOps } from './serve-peers.ts'

export interface SandboxPartsOptions {
  readonly config: Config
  readonly paths: Paths
  readonly journal: Journal
  readonly net: MeshNet
  readonly directory: DirectoryService
  readonly nodeName: () => string
  readonly artifacts: ArtifactSource
  /** Runs handler programs */
  readonly isolates: Pick<Executor, 'run'>
  /** The environment of this process, where DOCKER_HOST may be */
  readonly env: Readonly<Record<string, string | undefined>>
  readonly warn: (facts: object, message: string) => void
}

interface Books {
  readonly away: AwayBook
  readonly grants: ArtifactGrants
}

/** At most, between looks at leases, and between signs to the nodes that hold sandboxes of ours, milliseconds. */
const LEASE_TICK_MS = 15_000
const RENEW_MS = 60_000
/** Of the silence that is borne, so that one sign may be lost. */
const TICKS_OF_SILENCE = 4
const SIGNS_OF_SILENCE = 3
/** A peer that just started is asked again after this long, then twice as long, and so on, milliseconds. */
const PEER_RETRY_MS = 500
const PEER_TRIES = 6
/** Images may also be made and removed past us. */
const IMAGES_MS = 60_000

export class SandboxParts {
  readonly executor: SandboxExecutor
  readonly egress: EgressDoor
  readonly desk: SandboxDesk
  readonly #options: SandboxPartsOptions
  readonly #host: SandboxHost
  readonly #doors: Doors
  readonly #artifacts: ArtifactDoor
  readonly #leases: Leases
  readonly #peers: PeerOps
  readonly #fetches: IsolateFetch
  readonly #renewals: Renewals
  readonly #timers: NodeJS.Timeout[]
  #imageLabels: readonly string[] = []
  #closed = false

  constructor(options: SandboxPartsOptions, executor: SandboxExecutor, egress: EgressDoor, books: Books) {
    const { away, grants } = books
    const { config, journal, net, directory, nodeName, warn } = options
    this.#options = options
    this.executor = executor
    this.egress = egress
    this.#fetches = new IsolateFetch(egress)
    this.#artifacts = new ArtifactDoor({ grants, source: options.artifacts })
    this.#doors = new Doors({
      egress,
      self: net.self,
      warn,
      // One that came home again has the id it always had
      artifacts: (at) => (connection) =>
        this.#artifacts.enter(away.all().find((row) => row.node === net.self && row.at === at)?.id ?? at, connection),
    })
    this.#leases = new Leases({
      journal,
      leaseMs: config.sandbox.leaseMs,
      silenceMs: config.sandbox.silenceMs,
      onSilent: (id) => this.#onSilent(id),
      onExpired: (id) => this.#onExpired(id),
    })
    this.#host = new SandboxHost({
      executor,
      doors: this.#doors,
      leases: this.#leases,
      self: net.self,
      nodeName,
      defaultImage: config.sandbox.image,
      keptBytes: LIMITS.guestKeptBytes,
      slots: config.sandbox.slots,
      imagesFromPeers: config.sandbox.imagesFromPeers,
      onImages: () => void this.#lookAtImages(),
    })
    this.desk = new SandboxDesk({
      self: net.self,
      host: this.#host,
      away,
      grants,
      placer: new SandboxPlacer({
        self: net.self,
        nodes: () => directory.nodes(),
        discover: async (label) => void (await directory.find(label)),
        random: Math.random,
      }),
      peer: (node) => new RemotePlace(net, node),
      lend: ({ id, name = id, agent, node }) =>
        egress.lend(
          { sandbox: name, node: net.self, ...(agent === undefined ? {} : { agent }) },
          node,
          {},
          (connection) => this.#artifacts.enter(id, connection),
        ),
      warn,
    })
    this.#renewals = new Renewals({
      holders: () => this.desk.holders(),
      isConnected: (node) => net.isConnected(node),
      renew: (node) => this.desk.renew(node),
      warn,
    })
    this.#peers = new PeerOps({ net, placeFor: (peer) => this.#placeFor(peer) })
    for (const sandbox of executor.list()) {
      const { node } = ownerParts(sandbox.view().owner)
      if (node !== net.self) this.#leases.adopt(sandbox.id, node)
    }
    executor.onEngine(() => void this.#lookAtImages())
    const { silenceMs } = config.sandbox
    this.#timers = [
      setInterval(() => this.#leases.tick(), Math.min(LEASE_TICK_MS, silenceMs / TICKS_OF_SILENCE)),
      setInterval(() => this.#renewals.tick(), Math.min(RENEW_MS, silenceMs / SIGNS_OF_SILENCE)),
      setInterval(() => void this.#lookAtImages(), IMAGES_MS),
    ]
    for (const timer of this.#timers) timer.unref()
    void this.#lookAtImages()
    const known = new Set([...this.desk.list(), ...away.all()].map(({ id }) => id))
    grants
      .takeStrays(known)
      .catch((error: unknown) => warn({ err: error }, 'what sandboxes of before were given was not taken'))
    for (const node of this.desk.holders()) if (net.isConnected(node)) this.peerReady(node)
  }

  get #serves(): boolean {
    return this.#options.config.placement.acceptFromPeers
  }

  #placeFor(peer: string) {
    if (!this.#serves)
      throw new MeshError('E_FORBIDDEN', 'This node makes no sandboxes for others', {
        hint: 'Its operator can allow it with placement.acceptFromPeers; else ask another node',
      })
    return this.#host.placeFor(peer)
  }

  /** For this node's card. */
  offer(): Offer {
    const services = this.egress.services.list().map(({ name }) => `service/${name}`)
    if (this.executor.info() === undefined) return { executors: [], labels: services }
    const executors = this.#host.offers()
    return { executors, labels: [...services, ...this.#imageLabels] }
  }

  /** A peer that may hold sandboxes of ours is here. It may not have come as far as to know them: then it is asked again. */
  peerReady(peer: string, attempt = 0): void {
    if (this.#closed || !this.desk.holders().has(peer)) return
    this.desk.reconnected(peer).catch((error: unknown) => {
      if (attempt >= PEER_TRIES)
        return this.#options.warn({ err: error, peer }, 'sandboxes on a peer were not heard of')
      const timer = setTimeout(() => this.peerReady(peer, attempt + 1), PEER_RETRY_MS * 2 ** attempt)
      timer.unref()
    })
  }

  /** `fetch` of a program of this node's task, wherever the program runs. @returns JSON text. @throws MeshError */
  fetch(task: string, argsJson: string, signal: AbortSignal): Promise<string> {
    return this.#fetches.fetch({ task, node: this.#options.net.self }, argsJson, signal)
  }

  /** A node was put out of the mesh: nothing of it runs here any more; what it left sleeps until its lease is over. */
  fence(peer: string): void {
    this.#peers.fence(peer)
    // What cannot sleep now is put to sleep for the silence of its owner
    for (const id of this.#leases.of(peer)) this.#onSilent(id).catch(() => undefined)
  }

  async doctor(): Promise<Check[]> {
    return sandboxChecks(this.executor, this.egress, this.#options.config.sandbox)
  }

  states(): Readonly<Record<string, number>> {
    const states: Record<string, number> = { running: 0, paused: 0, stopped: 0, lost: 0 }
    for (const sandbox of this.executor.list()) {
      const { state } = sandbox.view()
      states[state] = (states[state] ?? 0) + 1
    }
    return states
  }

  async close(): Promise<void> {
    this.#closed = true
    for (const timer of this.#timers) clearInterval(timer)
    this.#peers.close()
    await this.desk.close()
    await this.#doors.close()
    this.#artifacts.close()
    await this.#fetches.close()
    await this.executor.close()
    await this.egress.close()
  }

  async #lookAtImages(): Promise<void> {
    try {
      const labels = await this.#host.images.labels()
      if (labels.join() === this.#imageLabels.join()) return
      this.#imageLabels = labels
      this.#options.directory.changed()
    } catch (error) {
      this.#options.warn({ err: error }, 'the images of this node could not be looked at')
    }
  }

  async #onSilent(id: string): Promise<void> {
    this.#doors.forget(id).catch(() => undefined)
    try {
      await this.executor.get(id)?.sleep('stop')
    } catch (error) {
      this.#options.warn({ err: error, sandbox: id }, 'a sandbox whose owner is silent was not put to sleep')
      throw error
    }
  }

  async #onExpired(id: string): Promise<void> {
    try {
      await this.executor.get(id)?.remove()
    } catch (error) {
      this.#options.warn({ err: error, sandbox: id }, 'a sandbox whose owner is gone was not removed')
      throw error
    }
  }
}

/** @throws MeshError E_CONFIG, E_INSECURE_FILE, E_JOURNAL_GAP */
export async function composeSandboxes(options: SandboxPartsOptions): Promise<SandboxParts> {
  const { config, paths, journal, net, directory, env, warn } = options
  const { sandbox: wanted } = config
  const handlers = new HandlerPrograms({ folder: join(paths.dataDir, 'handlers'), executor: options.isolates })
  const egress = await openEgress({
    handlers,
    dataDir: paths.dataDir,
    stateDir: paths.stateDir,
    runDir: paths.runDir,
    self: net.self,
    net,
    findService: (name) => nodesWith(directory, `service/${name}`),
    ...(config.egress.dnsServers.length === 0 ? {} : { dnsServers: config.egress.dnsServers }),
    trustedCas: await readCas(config.egress.caFiles),
    auditBytes: config.egress.auditBytes,
    onTrouble: (what) => warn({}, what),
  })
  const executor = await createSandboxExecutor({
    nodeId: net.self,
    folder: join(paths.dataDir, 'sandboxes'),
    journal,
    engine: wanted.engine,
    env,
    home: homedir(),
    leastGrade: wanted.leastGrade,
    defaults: wanted.defaults,
    ceilings: wanted.ceilings,
    sleepAfterMs: wanted.sleepAfterMs,
    warm: { each: wanted.warmEach, kinds: wanted.warmKinds },
    buildInContainers: wanted.buildInContainers,
    trouble: (what, error) => warn({ err: error }, what),
  })
  const grants = await ArtifactGrants.open({ journal, source: options.artifacts, warn })
  return new SandboxParts(options, executor, egress, { away: await AwayBook.open(journal), grants })
}

/** Nearest first. */
function nodesWith(directory: DirectoryService, label: string): string[] {
  return directory
    .nodes()
    .filter(({ labels }) => labels.includes(label))
    .toSorted((a, b) => (a.rttMs ?? a.distanceMs ?? Infinity) - (b.rttMs ?? b.distanceMs ?? Infinity))
    .map(({ node }) => node)
}

async function readCas(files: readonly string[]): Promise<string[]> {
  return Promise.all(
    files.map((file) =>
      readFile(file, 'utf8').catch((cause: unknown) => {
        throw new MeshError('E_CONFIG', 'A file of egress.caFiles cannot be read', {
          cause,
          hint: 'Check egress.caFiles',
        })
      }),
    ),
  )
}
