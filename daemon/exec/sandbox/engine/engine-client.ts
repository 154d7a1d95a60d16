/**
 * The few calls we make of an engine, each with a deadline and typed errors; the only user of dockerode, which is loaded when an engine's socket was
 * found and not before. The engine's archive calls (`PUT` and `GET /containers/{id}/archive`, `export`) are left out on purpose: they resolve paths
 * inside a file system that the guest can change meanwhile.
 */
import { readFile } from 'node:fs/promises'
import { Agent } from 'node:http'
import { Agent as TlsAgent } from 'node:https'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import type Docker from 'dockerode'
import { MeshError } from '../../../../protocol/errors.ts'
import { SANDBOX_BOUNDS } from '../limits.ts'
import type { ContainerBody } from '../profile.ts'
import type { Endpoint } from './candidates.ts'
import { engineError, engineText } from './engine-error.ts'
import { engineJson } from './engine-json.ts'
import type { EngineAnswers } from './read-info.ts'
import { readLines } from './read-lines.ts'

export interface ContainerState {
  readonly id: string
  readonly running: boolean
  readonly paused: boolean
  /** The kernel killed something in it for memory and it ended by that */
  readonly oomKilled: boolean
  readonly exitCode: number
  /** On the engine's host; 0 when it does not run */
  readonly pid: number
  readonly image: string
  /** Bytes written to the root since it was made; only when asked for */
  readonly rootBytes: number | undefined
}

export interface ListedContainer {
  readonly id: string
  readonly labels: Readonly<Record<string, string>>
  readonly running: boolean
  readonly paused: boolean
}

export interface EngineEvent {
  readonly action: string
  readonly container: string
}

export class EngineClient {
  readonly #docker: Docker
  readonly #agent: Agent

  private constructor(docker: Docker, agent: Agent) {
    this.#docker = docker
    this.#agent = agent
  }

  static async open(at: Endpoint): Promise<EngineClient> {
    const { default: Dockerode } = await import('dockerode')
    // Connections are ours, so that none outlives this client and none is used that a former engine closed.
    if (at.kind === 'unix') {
      const agent = new Agent({ keepAlive: true })
      const options = { socketPath: at.path, host: '', agent }
      return new EngineClient(new Dockerode(options), agent)
    }
    const agent = at.tls ? new TlsAgent({ keepAlive: true }) : new Agent({ keepAlive: true })
    const { host, port } = at
    const protocol = at.tls ? ('https' as const) : ('http' as const)
    const options = { host, port, protocol, agent, ...(await certificates(at.certs)) }
    return new EngineClient(new Dockerode(options), agent)
  }

  /** Ends idle connections; streams are their owners' to end. */
  close(): void {
    this.#agent.destroy()
  }

  async ping(ms: number): Promise<void> {
    await this.#call('reach the engine', ms, async () => void (await this.#docker.ping()))
  }

  async describe(): Promise<EngineAnswers> {
    const ask = async (): Promise<unknown> => Promise.all([this.#docker.version(), this.#docker.info()])
    const answers: unknown = await this.#call('ask the engine what it is', SANDBOX_BOUNDS.engineCallMs, ask)
    const [told = engineJson({}), about = engineJson({})] = engineJson(answers).items()
    const runc = told.items('Components').find((part) => part.text('Name') === 'runc')
    return {
      version: told.text('Version'),
      apiVersion: told.text('ApiVersion'),
      os: told.text('Os'),
      arch: told.text('Arch'),
      runtimes: about.at('Runtimes').keys(),
      runcVersion: runc?.text('Version') ?? '',
      storageDriver: about.text('Driver'),
      driverStatus: about.items('DriverStatus').map((pair) => [pair.text('0'), pair.text('1')]),
      securityOptions: about.items('SecurityOptions').map((option) => option.text()),
      cgroupVersion: about.text('CgroupVersion'),
    }
  }

  /** @returns its id */
  async create(name: string, body: ContainerBody): Promise<string> {
    const container = await this.#call('make the container', SANDBOX_BOUNDS.engineCallMs, (abortSignal) =>
      this.#docker.createContainer({ ...body, name, abortSignal }),
    )
    return container.id
  }

  async start(id: string): Promise<void> {
    await this.#container(id, 'start the sandbox', (container, abortSignal) => container.start({ abortSignal }))
  }

  async pause(id: string): Promise<void> {
    await this.#container(id, 'pause the sandbox', (container, abortSignal) => container.pause({ abortSignal }))
  }

  async unpause(id: string): Promise<void> {
    await this.#container(id, 'wake the sandbox', (container, abortSignal) => container.unpause({ abortSignal }))
  }

  /** Asks it to end, then ends it. A container that is not running is fine. */
  async stop(id: string, seconds: number): Promise<void> {
    await this.#container(id, 'stop the sandbox', (container, abortSignal) =>
      container.stop({ t: seconds, abortSignal }),
    ).catch(unless('E_CONFLICT'))
  }

  async kill(id: string): Promise<void> {
    await this.#container(id, 'end the sandbox', (container, abortSignal) => container.kill({ abortSignal })).catch(
      unless('E_CONFLICT', 'E_NOT_FOUND'),
    )
  }

  /** Tries again when the engine will not let go yet, as it does after gVisor guests ("is zombie and can not be killed"). */
  async remove(id: string): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#container(id, 'remove the sandbox', (container, abortSignal) =>
          container.remove({ force: true, v: true, abortSignal }),
        )
        return
      } catch (error) {
        const known = error instanceof MeshError ? error.code : undefined
        if (known === 'E_NOT_FOUND') return
        // "removal of container is already in progress" is as good as done
        if (known === 'E_CONFLICT' && /already in progress/.test(engineText(error))) return
        if (known === 'E_ENGINE_LOST' || attempt >= SANDBOX_BOUNDS.removeTries) throw error
        await sleep(100 * 2 ** attempt)
      }
    }
  }

  /** @throws MeshError E_NOT_FOUND */
  async inspect(id: string, options: { readonly size?: boolean } = {}): Promise<ContainerState> {
    // `size` is in the API and not in the client's types
    const query: Docker.ContainerInspectOptions & { readonly size: boolean } = { size: options.size === true }
    const raw = await this.#container(id, 'look at the sandbox', (container) => container.inspect(query))
    const found = engineJson(raw)
    const state = found.at('State')
    return {
      id: found.text('Id'),
      running: state.flag('Running'),
      paused: state.flag('Paused'),
      oomKilled: state.flag('OOMKilled'),
      exitCode: state.number('ExitCode'),
      pid: state.number('Pid'),
      image: found.text('Image'),
      rootBytes: options.size === true ? found.number('SizeRw') : undefined,
    }
  }

  /** All containers that carry the label. */
  async list(label: string): Promise<readonly ListedContainer[]> {
    const raw = await this.#call('list the sandboxes', SANDBOX_BOUNDS.engineCallMs, (abortSignal) =>
      this.#docker.listContainers({ all: true, filters: { label: [label] }, abortSignal }),
    )
    return engineJson(raw)
      .items()
      .map((one) => ({
        id: one.text('Id'),
        labels: one.at('Labels').texts(),
        running: one.text('State') === 'running',
        paused: one.text('State') === 'paused',
      }))
  }

  /** The container's standard streams, multiplexed as the engine does; to be asked for before it starts. */
  async attach(id: string): Promise<Duplex> {
    const options = { stream: true, stdin: true, stdout: true, stderr: true, hijack: true }
    let late = false
    try {
      // No signal goes with it: it would also end the stream later.
      return await this.#container(id, 'attach to the sandbox', async (container) => {
        const stream = (await container.attach(options)) as Duplex
        // Nobody waits for it any more, and the engine would keep for it what the container writes
        if (late) stream.destroy()
        return stream
      })
    } catch (error) {
      late = true
      throw error
    }
  }

  /** Keeps the root's changes as an image, with the labels of the container. @returns its digest */
  async commit(id: string, repository: string, tag: string): Promise<string> {
    const raw: unknown = await this.#container(
      id,
      'keep the root',
      // The container is paused by us already, together with its workspace
      (container) => container.commit({ repo: repository, tag, pause: false }),
      10 * SANDBOX_BOUNDS.engineCallMs,
    )
    return engineJson(raw).text('Id')
  }

  /** What differs on its root from its image: 0 changed, 1 added, 2 removed. */
  async changes(id: string): Promise<readonly { readonly path: string; readonly kind: number }[]> {
    const raw: unknown = await this.#container(id, 'look for changes of the root', (container, abortSignal) =>
      container.changes({ abortSignal }),
    )
    return engineJson(raw)
      .items()
      .map((one) => ({ path: one.text('Path'), kind: one.number('Kind') }))
  }

  /** Events of containers with the label, until the signal or the end of the engine. */
  async events(label: string, onEvent: (event: EngineEvent) => void, signal: AbortSignal): Promise<void> {
    const filters = JSON.stringify({ type: ['container'], label: [label], event: ['die', 'oom', 'destroy'] })
    const stream = await this.#call('follow the engine', SANDBOX_BOUNDS.engineCallMs, () =>
      this.#docker.getEvents({ filters, abortSignal: signal }),
    )
    for await (const line of readLines(stream)) {
      const event = engineJson(line)
      onEvent({ action: event.text('Action'), container: event.at('Actor').text('ID') })
    }
  }

  /** For images: the engine's own client, with its calls' errors made ours. */
  images<T>(action: string, ms: number, use: (docker: Docker, signal: AbortSignal) => Promise<T>): Promise<T> {
    return this.#call(action, ms, (signal) => use(this.#docker, signal))
  }

  #container<T>(
    id: string,
    action: string,
    use: (container: Docker.Container, signal: AbortSignal) => Promise<T>,
    ms: number = SANDBOX_BOUNDS.engineCallMs,
  ): Promise<T> {
    return this.#call(action, ms, (signal) => use(this.#docker.getContainer(id), signal))
  }

  async #call<T>(action: string, ms: number, use: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const signal = AbortSignal.timeout(ms)
    let onAbort: (() => void) | undefined
    // Raced as well, since not every call heeds its signal.
    const late = new Promise<never>((_, reject) => {
      onAbort = () => reject(signal.reason)
      signal.addEventListener('abort', onAbort, { once: true })
    })
    try {
      return await Promise.race([use(signal), late])
    } catch (error) {
      throw engineError(action, error)
    } finally {
      if (onAbort) signal.removeEventListener('abort', onAbort)
    }
  }
}

function unless(...codes: readonly string[]): (error: unknown) => void {
  return (error) => {
    if (!(error instanceof MeshError) || !codes.includes(error.code)) throw error
  }
}

async function certificates(folder: string | undefined): Promise<Partial<Record<'ca' | 'cert' | 'key', Buffer>>> {
  if (folder === undefined) return {}
  const [ca, cert, key] = await Promise.all(
    ['ca.pem', 'cert.pem', 'key.pem'].map((name) => readFile(join(folder, name))),
  )
  return { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) }
}
