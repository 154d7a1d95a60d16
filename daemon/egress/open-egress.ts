/** Puts the door to the outside together: stores, audit, the proxy process, and tunnels of the mesh. */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { MissingPart } from '../../protocol/api-sandboxes.ts'
import { type EgressSubject, type Rule, secretsOf } from '../../protocol/egress/rule.ts'
import { MeshError, toMeshError } from '../../protocol/errors.ts'
import { ensurePrivateFolder } from '../files/private-file.ts'
import type { MeshNet } from '../net/mesh-net.ts'
import { logFile } from '../observe/log-file.ts'
import { AuditTrail } from './audit-log.ts'
import { type DoorRecord, DoorBook } from './door-book.ts'
import type { ArtifactsEntry, DoorLimits, EgressDoor, EgressState, LentDoor, OpenDoor, DoorTicket } from './egress.ts'
import { checkedTicket, HomeDoor } from './home-door.ts'
import { StoredPolicy } from './policy-store.ts'
import { ProxyProcess } from './proxy-process.ts'
import type { FromProxy, HandlerRequest, HandlerResponse } from './proxy/messages.ts'
import { SealedSecrets } from './secret-store.ts'
import { StoredServices } from './service-registry.ts'
import { TunnelHost } from './tunnel-host.ts'
import { Uplink } from './uplink.ts'

export interface EgressInit {
  /** Folders of this node: rules and secrets; the audit file; sockets */
  readonly dataDir: string
  readonly stateDir: string
  readonly runDir: string
  /** This node's id, which work of its own is under */
  readonly self: string
  readonly net?: MeshNet
  /** Nodes that offer `service/<name>`, nearest first. @default none */
  readonly findService?: (name: string) => readonly string[]
  /** Asked instead of the host's resolver: "address" or "address:port" */
  readonly dnsServers?: readonly string[]
  /** Certificates, PEM, of authorities trusted besides the public ones */
  readonly trustedCas?: readonly string[]
  /** @default none: requests for handlers fail */
  readonly handlers?: Handlers
  readonly onTrouble?: (what: string) => void
  /** Size at which the audit file is moved aside. @default 16 MiB */
  readonly auditBytes?: number
}

/** Programs that answer requests in place of hosts. */
export interface Handlers {
  has(name: string): Promise<boolean>
  run(request: HandlerRequest, subject: EgressSubject): Promise<HandlerResponse>
}

/** Room for the longest name of a socket in the folder. */
const LONGEST_FOLDER = 107 - '/uplink.sock'.length - 16

/** Reads the stores; no process is started before the first door. @throws MeshError E_CONFIG, E_INSECURE_FILE */
export async function openEgress(init: EgressInit): Promise<EgressDoor> {
  const { dataDir, stateDir } = init
  const files = { secretsFile: join(dataDir, 'secrets.json'), keyFile: join(dataDir, 'secrets.key') }
  const secrets = await SealedSecrets.open(files)
  const policy = await StoredPolicy.open(join(dataDir, 'egress-rules.json'))
  const services = await StoredServices.open(join(dataDir, 'services.json'))
  await ensurePrivateFolder(stateDir)
  const audit = new AuditTrail(logFile(join(stateDir, 'egress.log'), init.auditBytes ?? 16 << 20))
  const sockets = await socketFolder(init.runDir)
  return new Egress(init, { secrets, policy, services, audit }, sockets)
}

/** A private folder whose path is short enough for sockets. */
async function socketFolder(runDir: string): Promise<{ path: string; temporary: boolean }> {
  const path = join(runDir, 'egress')
  if (Buffer.byteLength(path) > LONGEST_FOLDER)
    return { path: mkdtempSync(join(tmpdir(), 'manyhands-')), temporary: true }
  await ensurePrivateFolder(runDir)
  await ensurePrivateFolder(path)
  return { path, temporary: false }
}

interface Stores {
  readonly secrets: SealedSecrets
  readonly policy: StoredPolicy
  readonly services: StoredServices
  readonly audit: AuditTrail
}

class Egress implements EgressDoor {
  readonly policy: StoredPolicy
  readonly secrets: SealedSecrets
  readonly services: StoredServices
  readonly audit: AuditTrail
  readonly #init: EgressInit
  readonly #sockets: { path: string; temporary: boolean }
  readonly #proxy: ProxyProcess
  readonly #doors: DoorBook
  readonly #tunnels: TunnelHost
  readonly #uplink: Uplink
  readonly #homeDoors = new Set<HomeDoor>()
  #listening: Promise<void> | undefined
  #closed = false

  constructor(init: EgressInit, stores: Stores, sockets: { path: string; temporary: boolean }) {
    this.#init = init
    this.#sockets = sockets
    this.policy = stores.policy
    this.secrets = stores.secrets
    this.services = stores.services
    this.audit = stores.audit
    const uplinkPath = join(sockets.path, 'uplink.sock')
    const { dnsServers, trustedCas, net } = init
    this.#proxy = new ProxyProcess({
      settings: {
        uplinkPath,
        ...(dnsServers === undefined ? {} : { dnsServers: [...dnsServers] }),
        ...(trustedCas === undefined ? {} : { trustedCas: [...trustedCas] }),
      },
      onNotice: (notice) => this.#noticed(notice),
      onRestart: () => this.#doors.reopen(),
      onTrouble: (what) => init.onTrouble?.(what),
    })
    this.#doors = new DoorBook({
      proxy: this.#proxy,
      policy: this.policy,
      secrets: this.secrets,
      folder: sockets.path,
      trustedCas: trustedCas ?? [],
      onTrouble: (what) => init.onTrouble?.(what),
    })
    this.#tunnels = new TunnelHost(net, this.services, this.audit)
    this.#uplink = new Uplink({
      path: uplinkPath,
      net,
      host: this.#tunnels,
      doorOf: (door) => this.#doors.get(door),
      findService: (name) => init.findService?.(name) ?? [],
    })
    this.policy.onChange = () => this.#doors.update()
    this.secrets.onChange = () => this.#doors.update()
    this.services.onChange = async () => this.#tunnels.recheck()
  }

  state(): EgressState {
    const { running, restarts, residentBytes } = this.#proxy
    return { running, restarts, residentBytes, doors: this.#doors.size + this.#homeDoors.size }
  }

  async missing(rule: Rule): Promise<readonly MissingPart[]> {
    const kept = new Set(this.secrets.list().map(({ name }) => name))
    const lacking = [...new Set(secretsOf(rule))].filter((name) => !kept.has(name))
    const { handler } = rule
    const answers = handler === undefined || ((await this.#init.handlers?.has(handler)) ?? false)
    return [
      ...lacking.map((name) => ({ kind: 'secret' as const, name })),
      ...(answers ? [] : [{ kind: 'handler' as const, name: handler }]),
    ]
  }

  async open(subject: EgressSubject, limits: DoorLimits = {}, artifacts?: ArtifactsEntry): Promise<OpenDoor> {
    return this.#doors.doorOf(await this.#openRecord({ node: this.#init.self, ...subject }, limits, artifacts))
  }

  async lend(
    subject: EgressSubject,
    peer: string,
    limits: DoorLimits = {},
    artifacts?: ArtifactsEntry,
  ): Promise<LentDoor> {
    const record = await this.#openRecord({ ...subject, node: this.#init.self }, limits, artifacts)
    const loan = this.#tunnels.lend(peer, record.socketPath)
    return {
      ticket: { id: loan.ticket, kit: record.kit },
      close: async () => {
        loan.revoke()
        await this.#doors.close(record)
      },
    }
  }

  async leadHome(peer: string, ticket: DoorTicket): Promise<OpenDoor> {
    const { net } = this.#init
    if (net === undefined) throw new MeshError('E_EGRESS', 'Cannot lead the door home: this node is in no mesh')
    const path = join(this.#sockets.path, `${randomBytes(8).toString('hex')}.sock`)
    const door = new HomeDoor(net, peer, checkedTicket(ticket), path, () => void this.#homeDoors.delete(door))
    await door.listen()
    this.#homeDoors.add(door)
    return door
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    for (const door of [...this.#homeDoors]) await door.close()
    this.#tunnels.close()
    await this.#uplink.close()
    await this.#proxy.close()
    this.audit.close()
    if (this.#sockets.temporary) rmSync(this.#sockets.path, { recursive: true, force: true })
    else this.#doors.removeSockets()
  }

  async #openRecord(
    subject: EgressSubject,
    limits: DoorLimits,
    artifacts: ArtifactsEntry | undefined,
  ): Promise<DoorRecord> {
    if (this.#closed) throw new MeshError('E_STOPPING', 'The daemon is shutting down')
    this.#listening ??= this.#uplink.listen()
    await this.#listening
    await this.#proxy.start()
    return this.#doors.open(subject, limits, artifacts)
  }

  #noticed(notice: Extract<FromProxy, { type: 'audit' | 'handle' }>): void {
    if (notice.type === 'handle') {
      void this.#handle(notice.call, notice.request)
      return
    }
    for (const { door, at, ...line } of notice.lines) {
      this.audit.add({ at: new Date(at).toISOString(), subject: this.#doors.get(door)?.subject ?? {}, ...line })
    }
  }

  async #handle(call: number, request: HandlerRequest): Promise<void> {
    const subject = this.#doors.get(request.door)?.subject
    try {
      const response = subject === undefined ? undefined : await this.#init.handlers?.run(request, subject)
      this.#proxy.tell({ type: 'handled', call, ...(response === undefined ? {} : { response }) })
    } catch (error) {
      this.#init.onTrouble?.(`the handler ${request.program} did not answer: ${toMeshError(error).code}`)
      this.#proxy.tell({ type: 'handled', call })
    }
  }
}
