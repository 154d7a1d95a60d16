/** The doors that are open, as the daemon knows them: enough to open each again, the same, in a proxy process that has just been started. */
import { createHash, randomBytes } from 'node:crypto'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { selects } from '../../protocol/egress/evaluate.ts'
import { EGRESS_LIMITS } from '../../protocol/egress/limits.ts'
import { type EgressSubject, type Rule, secretsOf } from '../../protocol/egress/rule.ts'
import { MeshError } from '../../protocol/errors.ts'
import type { ArtifactsEntry, DoorKit, DoorLimits, DoorPlace, OpenDoor } from './egress.ts'
import { doorKit } from './kit.ts'
import { leadInto } from './lead.ts'
import { networkOf } from './lead-inside.ts'
import type { StoredPolicy } from './policy-store.ts'
import type { ProxyProcess } from './proxy-process.ts'
import type { DoorRules, DoorSettings } from './proxy/messages.ts'
import type { SealedSecrets } from './secret-store.ts'

export interface DoorRecord {
  readonly id: string
  readonly subject: EgressSubject
  readonly socketPath: string
  readonly settings: DoorSettings
  /** Undefined: no artifacts behind this door */
  readonly artifacts: ArtifactsEntry | undefined
  /** What its placeholders and authority follow from: the same for a sandbox after any restart */
  readonly origin: string
  /** Where it is led into the guest. Of a guest that was started again the former place is gone */
  led: Led | undefined
  kit: DoorKit
}

interface Led {
  readonly place: DoorPlace
  /** Which network it was led into: the number of a process may go to another */
  readonly network: string | undefined
  readonly end: () => void
}

export interface DoorBookInit {
  readonly proxy: ProxyProcess
  readonly policy: StoredPolicy
  readonly secrets: SealedSecrets
  /** For sockets */
  readonly folder: string
  readonly trustedCas: readonly string[]
  readonly onTrouble: (what: string) => void
}

const MOST_DOORS = 4_096

export class DoorBook {
  readonly #init: DoorBookInit
  readonly #records = new Map<string, DoorRecord>()

  constructor(init: DoorBookInit) {
    this.#init = init
  }

  get size(): number {
    return this.#records.size
  }

  get(id: string): DoorRecord | undefined {
    return this.#records.get(id)
  }

  async open(subject: EgressSubject, limits: DoorLimits, artifacts?: ArtifactsEntry): Promise<DoorRecord> {
    if (this.#records.size >= MOST_DOORS)
      throw new MeshError('E_OVERLOADED', `Cannot open the door: ${MOST_DOORS} are open`)
    const id = randomBytes(8).toString('hex')
    const origin = subject.sandbox === undefined ? `door ${id}` : `sandbox ${subject.sandbox}`
    const socketPath = join(this.#init.folder, `${id}.sock`)
    const {
      tunnels = EGRESS_LIMITS.tunnels,
      tunnelMs = EGRESS_LIMITS.tunnelMs,
      idleMs = EGRESS_LIMITS.idleMs,
      handshakeMs = EGRESS_LIMITS.handshakeMs,
      bytes,
    } = limits
    const settings: DoorSettings = {
      door: id,
      subject,
      socketPath,
      caSeed: this.#init.secrets.derive(`authority of ${origin}`).toString('base64'),
      limits: {
        tunnels: Math.min(tunnels, EGRESS_LIMITS.tunnels),
        tunnelMs,
        idleMs,
        handshakeMs,
        ...(bytes === undefined ? {} : { bytes }),
      },
    }
    const empty: DoorKit = { env: {}, files: [], caPem: '', placeholders: {} }
    const record: DoorRecord = { id, subject, socketPath, settings, artifacts, origin, led: undefined, kit: empty }
    // Known before it is asked for, so that a change of rules meanwhile is not missed
    this.#records.set(id, record)
    try {
      await this.#openIn(record)
    } catch (error) {
      this.#records.delete(id)
      throw error
    }
    return record
  }

  doorOf(record: DoorRecord): OpenDoor {
    const { subject, socketPath } = record
    return {
      subject,
      socketPath,
      ...record.kit,
      lead: (place) => this.#lead(record, place),
      close: () => this.close(record),
    }
  }

  async close(record: DoorRecord): Promise<void> {
    if (!this.#records.delete(record.id)) return
    record.led?.end()
    await this.#closeIn(record)
  }

  /** Rules or secrets changed: in force for every door when it resolves. */
  async update(): Promise<void> {
    if (!this.#init.proxy.running) return
    const all = [...this.#records.values()].map((record) =>
      this.#init.proxy.ask({ type: 'update', door: record.id, rules: this.#rulesFor(record) }),
    )
    // A proxy that dies meanwhile gets them when it is started again
    await Promise.allSettled(all)
  }

  /** Opens all in a proxy process that has just been started. */
  async reopen(): Promise<void> {
    for (const record of [...this.#records.values()]) {
      // Each takes its time, in which others are closed
      if (!this.#records.has(record.id)) continue
      try {
        await this.#openIn(record)
        if (this.#records.has(record.id)) await this.#leadAgain(record)
        else await this.#closeIn(record)
      } catch (error) {
        this.#init.onTrouble(`a door could not be opened again: ${error instanceof Error ? error.message : 'failed'}`)
      }
    }
  }

  removeSockets(): void {
    for (const { socketPath } of this.#records.values()) rmSync(socketPath, { force: true })
    rmSync(join(this.#init.folder, 'uplink.sock'), { force: true })
  }

  async #openIn(record: DoorRecord): Promise<void> {
    const rules = this.#rulesFor(record)
    const caPem = await this.#init.proxy.ask({ type: 'open', settings: record.settings, rules })
    if (caPem === undefined)
      throw new MeshError('E_EGRESS', 'The door to the outside cannot be opened: it has no authority')
    const { placeholders } = rules
    record.kit = doorKit({
      caPem,
      placeholders,
      env: placeholderEnv(rules.rules, placeholders),
      trustedCas: this.#init.trustedCas,
    })
  }

  async #closeIn(record: DoorRecord): Promise<void> {
    await this.#init.proxy.ask({ type: 'close', door: record.id }).catch(() => undefined)
    rmSync(record.socketPath, { force: true })
  }

  async #leadAgain(record: DoorRecord): Promise<void> {
    const { led } = record
    if (led === undefined) return
    if (networkIn(led.place) === led.network) return this.#lead(record, led.place)
    // It was stopped meanwhile, and is led into anew when it is used
    led.end()
    record.led = undefined
  }

  /** In place of where it was led before. */
  async #lead(record: DoorRecord, place: DoorPlace): Promise<void> {
    const network = networkIn(place)
    record.led?.end()
    record.led = { place, network, end: () => undefined }
    const take = async (server: Parameters<ProxyProcess['ask']>[1]) => {
      // Two hold the listening socket for a moment; whoever comes to this one tries again
      server?.on('connection', (socket) => socket.destroy())
      try {
        await this.#init.proxy.ask({ type: 'inside', door: record.id }, server)
      } finally {
        server?.close()
      }
    }
    const listener = await leadInto(place, { socketPath: record.socketPath, take })
    record.led = { place, network, end: () => void listener.close() }
  }

  #rulesFor({ subject, origin }: DoorRecord): DoorRules {
    const { policy, secrets } = this.#init
    const rules = policy.list().filter((rule) => rule.for.some((selector) => selects(selector, subject)))
    const replaced = rules.flatMap((rule) => (rule.replace ?? []).map(({ secret }) => secret))
    return {
      rules,
      secrets: secrets.reveal(rules.flatMap(secretsOf)),
      placeholders: Object.fromEntries(
        [...new Set(replaced)].map((name) => [name, placeholder(secrets.derive(`placeholder of ${origin}\0${name}`))]),
      ),
    }
  }
}

const networkIn = (place: DoorPlace): string | undefined =>
  place.kind === 'namespace' ? networkOf(place.pid) : undefined

/** Long enough that it stands in nothing by chance. */
const placeholder = (key: Buffer): string => `mhp_${createHash('sha256').update(key).digest('hex').slice(0, 36)}`

function placeholderEnv(
  rules: readonly Rule[],
  placeholders: Readonly<Record<string, string>>,
): Record<string, string> {
  const pairs = rules
    .flatMap((rule) => rule.replace ?? [])
    .flatMap(({ env, secret }) => (env === undefined ? [] : [[env, placeholders[secret] ?? ''] as const]))
  return Object.fromEntries(pairs)
}
