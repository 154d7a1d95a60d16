/** The mesh as seen through one local daemon. */
import type {
  CapabilityView,
  ConfigView,
  DoctorView,
  InviteRequest,
  InviteView,
  MembersView,
  MeshEvent,
  PeerView,
  StatusView,
  TaskView,
  TokenRequest,
  TokenView,
} from '../../protocol/api.ts'
import type { Artifact } from './artifact.ts'
import { Artifacts } from './artifacts.ts'
import type { CallOptions } from './call-options.ts'
import type { Client } from './client.ts'
import type { DuplexSource } from './duplex.ts'
import { Egress, Policy, Secrets, Services } from './egress.ts'
import { type EventOptions, eventStream, lasting } from './event-stream.ts'
import { Images } from './images.ts'
import type { Inputs } from './map-parts.ts'
import { type MapOptions, MapRun } from './map.ts'
import type { PortOpener } from './open-port.ts'
import { type Program, type ProgramLoader, resolveProgram } from './program.ts'
import { meshEvent } from './replies.ts'
import { type Sandbox, Sandboxes, type SandboxOptions } from './sandbox.ts'
import { Session, type SessionOptions } from './session.ts'
import { outputOf, type RunOptions, Tasks } from './tasks.ts'

export interface MeshParts {
  readonly client: Client
  readonly duplex: DuplexSource
  readonly load: ProgramLoader
  readonly openPort: PortOpener
  /** Closes what the duplex source opened */
  readonly closeDuplex: () => void
}

/**
 * Every method rejects with ManyhandsError, or with the reason of the signal given to it. When the connection to the daemon is lost, whatever may be
 * repeated is repeated for 15 seconds; runs and maps carry an idempotency key, so that repeating never runs them twice.
 */
export class Mesh {
  readonly #client: Client
  readonly #parts: MeshParts
  /** To list, watch, cancel and question tasks */
  readonly tasks: Tasks
  /** To create, list, import and fetch artifacts */
  readonly artifacts: Artifacts
  /** To list and find sandboxes; `sandbox` makes one */
  readonly sandboxes: Sandboxes
  readonly images: Images
  readonly secrets: Secrets
  readonly policy: Policy
  readonly services: Services
  readonly egress: Egress

  constructor(parts: MeshParts) {
    this.#parts = parts
    this.#client = parts.client
    this.tasks = new Tasks(parts.client, parts.duplex, parts.load)
    this.artifacts = new Artifacts(parts.client)
    this.sandboxes = new Sandboxes(parts)
    this.images = new Images(parts.client, parts.duplex)
    this.secrets = new Secrets(parts.client)
    this.policy = new Policy(parts.client)
    this.services = new Services(parts.client)
    this.egress = new Egress(parts.client)
  }

  /** An artifact by its name on this node, or by its id. @throws ManyhandsError E_NOT_FOUND, E_NO_ARTIFACTS */
  artifact(nameOrId: string, options: CallOptions = {}): Promise<Artifact> {
    return this.artifacts.get(nameOrId, options)
  }

  /** With `detach`: gives the task once it is durable, which then runs on without this process. */
  run(program: Program, options: RunOptions & { readonly detach: true }): Promise<TaskView>
  /**
   * Runs a program once on the nearest able node and gives its output. `T` is the caller's claim; give `parse` to have it checked.
   * @throws ManyhandsError with `failure` set when the program failed
   */
  run<T = unknown>(
    program: Program,
    options?: RunOptions & {
      readonly detach?: false | undefined
      readonly parse?: ((output: unknown) => T) | undefined
    },
  ): Promise<T>
  async run<T>(
    program: Program,
    options: RunOptions & {
      readonly detach?: boolean | undefined
      readonly parse?: ((output: unknown) => T) | undefined
    } = {},
  ): Promise<T | TaskView> {
    if (options.detach) return this.tasks.start(program, options)
    const output = outputOf(await this.tasks.run(program, options))
    return options.parse ? options.parse(output) : (output as T)
  }

  /** `run` of a file (.ts, .mts, .js, .mjs), which is bundled when it imports npm packages or other files. Node only. */
  async runFile<T = unknown>(
    file: string | URL,
    options: RunOptions & {
      readonly detach?: false | undefined
      readonly parse?: ((output: unknown) => T) | undefined
    } = {},
  ): Promise<T> {
    return this.run<T>(await this.#parts.load(file), options)
  }

  /** Binds a program to the nearest able node for many calls. Close it, or hold it with `await using`. */
  async session<Input = unknown, Output = unknown>(
    program: Program,
    options: SessionOptions = {},
  ): Promise<Session<Input, Output>> {
    const loaded = await resolveProgram(program, this.#parts.load)
    return Session.open<Input, Output>(await this.#parts.duplex(options.signal), loaded, options)
  }

  /** Runs a program over every input, on all able nodes. Starts at once; inputs are read as there is room. */
  map<Output = unknown>(program: Program, inputs: Inputs, options: MapOptions = {}): MapRun<Output> {
    const loaded = resolveProgram(program, this.#parts.load)
    return new MapRun<Output>(this.#client, this.tasks, loaded, inputs, options)
  }

  /** Makes a sandbox on the nearest able node. It lives until it is removed; hold it with `await using` to have that done. */
  sandbox(options: SandboxOptions = {}): Promise<Sandbox> {
    return this.sandboxes.create(options)
  }

  status(options: CallOptions = {}): Promise<StatusView> {
    return this.#client.call('GET /v0/status', options)
  }

  async peers(options: CallOptions = {}): Promise<readonly PeerView[]> {
    return (await this.#client.call('GET /v0/peers', options)).peers
  }

  /** What the nodes of the mesh offer. @param label only this one. @default all */
  async capabilities(label?: string, options: CallOptions = {}): Promise<readonly CapabilityView[]> {
    const query = label === undefined ? {} : { label }
    return (await this.#client.call('GET /v0/capabilities', { ...options, query })).capabilities
  }

  doctor(options: CallOptions = {}): Promise<DoctorView> {
    return this.#client.call('GET /v0/doctor', options)
  }

  /** The daemon's configuration, without secrets, and where each value came from. */
  config(options: CallOptions = {}): Promise<ConfigView> {
    return this.#client.call('GET /v0/config', options)
  }

  members(options: CallOptions = {}): Promise<MembersView> {
    return this.#client.call('GET /v0/members', options)
  }

  /** A single-use invite to the mesh. Its text is a secret. Admins only. */
  invite(request: InviteRequest = {}, options: CallOptions = {}): Promise<InviteView> {
    return this.#client.call('POST /v0/invites', { ...options, body: request })
  }

  /** Puts a node out of the mesh. Admins only. @param id of the node */
  revoke(id: string, options: CallOptions = {}): Promise<MembersView> {
    return this.#client.call('POST /v0/members/:id/revoke', { ...options, params: { id }, body: {} })
  }

  /** What happens in the mesh from now on. Opens again when the daemon went away, for as long as it takes; leave the loop or abort to end it. */
  events(options: EventOptions = {}): AsyncGenerator<MeshEvent> {
    return eventStream(this.#client, '/v0/events', meshEvent, lasting(options))
  }

  /** Further tokens of the local API. Admins only. */
  async tokens(options: CallOptions = {}): Promise<readonly TokenView[]> {
    return (await this.#client.call('GET /v0/tokens', options)).tokens
  }

  /** Makes a token with no more rights than `access`. It is shown this once. Admins only. @param request.name 1 to 64 of a-z 0-9 . _ - */
  async createToken(request: TokenRequest, options: CallOptions = {}): Promise<string> {
    return (await this.#client.call('POST /v0/tokens', { ...options, body: request })).token
  }

  /** Ends a token. Admins only. Gives those that are left. */
  async revokeToken(name: string, options: CallOptions = {}): Promise<readonly TokenView[]> {
    return (await this.#client.call('POST /v0/tokens/:name/revoke', { ...options, params: { name }, body: {} })).tokens
  }

  /** Stops the daemon. Admins only. @param drainMs running work may take this long to end. @default the daemon's own */
  async shutdown(drainMs?: number, options: CallOptions = {}): Promise<void> {
    await this.#client.call('POST /v0/shutdown', { ...options, body: drainMs === undefined ? {} : { drainMs } })
  }

  /** Ends every call and stream with E_CONFLICT. Tasks without host functions run on. Safe to call again. */
  async close(): Promise<void> {
    this.#parts.closeDuplex()
    await this.#client.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}
