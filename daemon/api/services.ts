/** What the local API needs of the rest of the daemon. The composition root puts it together; tests use a small fake. */
import type {
  CapabilityView,
  ConfigView,
  DoctorView,
  InviteRequest,
  InviteView,
  MembersView,
  MeshEvent,
  PeerView,
  ProgramInput,
  ReceiptCheck,
  ReceiptEnvelope,
  StatusView,
} from '../../protocol/api.ts'
import type { FindArtifacts } from './artifact-services.ts'
import type { GitHandler } from './git-mount.ts'
import type { Program } from '../exec/executor.ts'
import type { EgressDoor } from '../egress/egress.ts'
import type { SandboxDesk } from '../sandboxes/desk.ts'
import type { Tasks } from '../tasks/tasks.ts'

type Awaitable<T> = T | Promise<T>

/** Each method may throw a MeshError; anything else becomes E_INTERNAL without detail. */
export interface ApiServices {
  readonly tasks: Tasks
  /** Sandboxes of this node, wherever they are. Made after the start; a call that comes before waits */
  sandboxes(): Promise<Pick<SandboxDesk, keyof SandboxDesk>>
  /** @throws MeshError E_EGRESS when this node has no door */
  egress(): Promise<EgressDoor>
  readonly events: MeshEvents
  readonly metrics: ApiMetrics
  readonly artifacts: FindArtifacts
  /** Serves Git clients under /git/. @throws MeshError E_NO_ARTIFACTS, E_GIT_MISSING */
  git(): Promise<GitHandler>
  /** Checks a program and strips its types. @throws MeshError E_BAD_REQUEST, E_SYNTAX, E_IMPORT, E_TOO_LARGE */
  compile(program: ProgramInput): Awaitable<Program>
  status(): Awaitable<StatusView>
  peers(): Awaitable<readonly PeerView[]>
  capabilities(label: string | undefined): Awaitable<readonly CapabilityView[]>
  doctor(): Awaitable<DoctorView>
  config(): Awaitable<ConfigView>
  members(): Awaitable<MembersView>
  /** @throws MeshError E_FORBIDDEN when this node is no admin of the mesh */
  invite(request: InviteRequest): Awaitable<InviteView>
  /** @param id node id or name. @throws MeshError E_FORBIDDEN, E_NOT_FOUND */
  revoke(id: string): Awaitable<MembersView>
  verifyReceipt(envelope: ReceiptEnvelope): Awaitable<ReceiptCheck>
  /** Begins to stop the daemon; called after the answer has left. */
  shutdown(drainMs: number | undefined): void
}

export interface MeshEvents {
  /**
   * Events after the one with id `after` (undefined: only new ones), then what comes, until the returned function is called.
   * When events in between are forgotten, or the id is of another run of the daemon, the first event is an alarm "events-lost".
   */
  watch(after: string | undefined, listener: (id: string, event: MeshEvent) => void): () => void
}

export interface ApiMetrics {
  readonly contentType: string
  render(): Promise<string>
  /** @param route row of the route table, or "none" */
  request(route: string, status: number, seconds: number): void
}
