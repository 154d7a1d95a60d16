/**
 * The connection to the engine over its comings and goings: looks for one, follows its events, notices when it goes and finds it again.
 * `none` -> looking -> `up` <-> `lost`. Waits between tries grow from 0.1 to 5 s (30 s while no engine was ever seen), so nothing spins.
 */
import { access, constants } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { MeshError } from '../../../../protocol/errors.ts'
import type { Grade } from '../../../../protocol/job.ts'
import { type Candidate, describeEndpoint, type EndpointSources, engineCandidates } from './candidates.ts'
import { EngineClient, type EngineEvent } from './engine-client.ts'
import type { EngineInfo } from './engine-info.ts'
import { readEngineInfo } from './read-info.ts'

const RETRY = { firstMs: 100, mostMs: 5_000, idleMs: 30_000 }
/** A try must answer within; milliseconds */
const PING_MS = 3_000
/**
 * Tries in a row without an answer until an engine that is up counts as lost, which ends all that runs on it: on a busy host one may be late. One whose socket
 * is gone is noticed by the end of its events, whatever this says.
 */
const MISSES = 5
/** Between looks at an engine that is up: one that hangs sends no event. Milliseconds */
const LOOK_MS = 10_000

export interface EngineLinkOptions extends EndpointSources {
  readonly leastGrade: Grade
  /** Whether this daemon can make file systems for workspaces */
  readonly loopWorkspaces: boolean
  /** Events of containers with this label are told */
  readonly label: string
  /** Awaited before the engine counts as up: what must be put in order first. A failure counts as loss */
  onUp(client: EngineClient, info: EngineInfo): Promise<void>
  onLost(): void
  onEvent(event: EngineEvent): void
  /** For the log */
  onTrouble?(error: unknown): void
  /** @default PING_MS */
  readonly pingMs?: number
}

interface Up {
  readonly client: EngineClient
  readonly info: EngineInfo
  readonly gone: AbortController
}

export class EngineLink {
  readonly #options: EngineLinkOptions
  readonly #ended = new AbortController()
  #up: Up | undefined
  #seen = false
  #running: Promise<void> | undefined
  /** One look at a time */
  #asking: Promise<void> | undefined

  constructor(options: EngineLinkOptions) {
    this.#options = options
  }

  /** Resolves after the first look: an engine was found or not. @throws MeshError E_CONFIG */
  async start(): Promise<void> {
    const candidates = engineCandidates(this.#options)
    if (candidates.length === 0) return
    const found = await this.#find(candidates)
    this.#running = this.#keep(candidates, found)
  }

  info(): EngineInfo | undefined {
    return this.#up?.info
  }

  /** @throws MeshError E_NO_ENGINE, E_ENGINE_LOST */
  client(): EngineClient {
    if (this.#up) return this.#up.client
    if (this.#seen)
      throw new MeshError('E_ENGINE_LOST', 'Cannot reach the sandboxes: the engine is gone', { retryAfterMs: 1_000 })
    throw new MeshError('E_NO_ENGINE', 'Cannot use sandboxes: no container engine was found on this node', {
      hint: 'Install and start Docker there, or name an engine in sandbox.engine; `manyhands doctor` says what was found',
    })
  }

  /** A runtime that is registered and does not start is not offered again until the engine is found anew. */
  dropRuntime(name: string): void {
    if (!this.#up) return
    const { info } = this.#up
    const runtimes = info.runtimes.filter((runtime) => runtime.name !== name)
    const warnings = [...info.warnings, `The runtime ${name} is registered and does not start`]
    this.#up = { ...this.#up, info: { ...info, runtimes, warnings } }
  }

  /** A runtime started something, or did not in time while the engine answered. */
  runtimeHangs(name: string, hangs: boolean): void {
    if (!this.#up || this.#up.info.hanging.includes(name) === hangs) return
    const { info } = this.#up
    const hanging = hangs ? [...info.hanging, name] : info.hanging.filter((one) => one !== name)
    this.#up = { ...this.#up, info: { ...info, hanging } }
  }

  /** Told by whoever met E_ENGINE_LOST: looked at at once. */
  suspect(): void {
    if (this.#up) void this.#ask(this.#up)
  }

  async close(): Promise<void> {
    this.#ended.abort()
    this.#up?.gone.abort()
    await this.#running
    this.#up = undefined
  }

  async #keep(candidates: readonly Candidate[], first: EngineClient | undefined): Promise<void> {
    let found = first
    let waitMs = RETRY.firstMs
    while (!this.#ended.signal.aborted) {
      found ??= await this.#find(candidates)
      if (found && this.#up) {
        await this.#follow()
        waitMs = RETRY.firstMs
        found = undefined
        continue
      }
      await sleep(this.#seen ? waitMs : RETRY.idleMs, undefined, { signal: this.#ended.signal, ref: false }).catch(
        () => {},
      )
      waitMs = Math.min(waitMs * 2, RETRY.mostMs)
    }
  }

  /** The first candidate that answers and could be put in order. */
  async #find(candidates: readonly Candidate[]): Promise<EngineClient | undefined> {
    for (const candidate of candidates) {
      if (this.#ended.signal.aborted) return undefined
      const client = await this.#open(candidate)
      if (client) return client
    }
    return undefined
  }

  async #open({ endpoint, found }: Candidate): Promise<EngineClient | undefined> {
    // Before the client's code is loaded at all
    if (endpoint.kind === 'unix' && !(await usable(endpoint.path))) return undefined
    const client = await EngineClient.open(endpoint)
    try {
      await client.ping(this.#pingMs())
      const { leastGrade, loopWorkspaces } = this.#options
      const local = endpoint.kind === 'unix'
      const info = readEngineInfo(await client.describe(), {
        endpoint: describeEndpoint(endpoint),
        found,
        local,
        loopWorkspaces: loopWorkspaces && local,
        leastGrade,
      })
      this.#up = { client, info, gone: new AbortController() }
      this.#seen = true
      await this.#options.onUp(client, info)
      return client
    } catch (error) {
      this.#up = undefined
      client.close()
      this.#options.onTrouble?.(error)
      return undefined
    }
  }

  /** Until the engine is gone. */
  async #follow(): Promise<void> {
    const up = this.#up
    if (!up) return
    const signal = AbortSignal.any([up.gone.signal, this.#ended.signal])
    const looks = this.#look(up, signal)
    try {
      await up.client.events(this.#options.label, (event) => this.#options.onEvent(event), signal)
    } catch (error) {
      if (!signal.aborted) this.#options.onTrouble?.(error)
    } finally {
      up.gone.abort()
      await looks
      up.client.close()
      this.#up = undefined
      if (!this.#ended.signal.aborted) this.#options.onLost()
    }
  }

  async #look(up: Up, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(LOOK_MS, undefined, { signal, ref: false }).catch(() => {})
      if (!signal.aborted) await this.#ask(up)
    }
  }

  #ask(up: Up): Promise<void> {
    this.#asking ??= this.#askUntilGone(up).finally(() => {
      this.#asking = undefined
    })
    return this.#asking
  }

  async #askUntilGone({ client, gone }: Up): Promise<void> {
    for (let misses = 0; misses < MISSES && !gone.signal.aborted && !this.#ended.signal.aborted; misses++) {
      try {
        return await client.ping(this.#pingMs())
      } catch (error) {
        this.#options.onTrouble?.(error)
      }
    }
    gone.abort()
  }

  #pingMs(): number {
    return this.#options.pingMs ?? PING_MS
  }
}

async function usable(path: string): Promise<boolean> {
  try {
    await access(path, constants.R_OK | constants.W_OK)
    return true
  } catch {
    return false
  }
}
