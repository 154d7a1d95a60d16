/**
 * The one place where the options of a container come from. Callers choose a profile from a closed list and numbers within limits; everything else is
 * fixed here. The function picks each input field by name and checks it, so whatever else an input carries (also through its prototype) goes nowhere.
 *
 * What the engine's defaults must not decide is written out, even where it equals today's default: an image cannot win over an explicit value.
 * References: docs of the Engine API (v1.41), "ContainerCreate"; CIS Docker Benchmark section 5.
 */
import { MeshError } from '../../../protocol/errors.ts'
import type { Grade } from '../../../protocol/job.ts'
import { AGENT_FOLDER } from './guest/agent-command.ts'
import { settleLimits } from './limits.ts'
import { SANDBOX_PROFILES, type SandboxLimits, type SandboxProfile } from './sandbox.ts'

export const WORKSPACE_PATH = '/workspace'
export const HOME_PATH = '/home/agent'
/** Where the folder with the door's socket is seen in the guest */
export const DOOR_PATH = '/run/mesh'
export const GUEST_UID = 10_001
export const SANDBOX_HOSTNAME = 'sandbox'
/** Files of `/etc` that are ours, whatever the image has */
export const ETC_FILES = ['hosts', 'hostname', 'resolv.conf'] as const

/** What a package manager running as root inside needs; without the first, apt fails at `setgroups` with a misleading message. */
const BUILD_CAPABILITIES = ['SETUID', 'SETGID', 'CHOWN', 'DAC_OVERRIDE', 'FOWNER'] as const

export type WorkspaceSource =
  /** Folders on the host, on a file system of the workspace's own */
  { readonly kind: 'loop'; readonly workspace: string; readonly home: string } | { readonly kind: 'tmpfs' }

export interface ProfileInput {
  readonly profile: SandboxProfile
  readonly limits: SandboxLimits
  /** Name of a runtime the engine has */
  readonly runtime: string
  /** How strong that runtime is */
  readonly grade: Grade
  /** `sha256:` and 64 hexadecimal digits */
  readonly digest: string
  readonly workspace: WorkspaceSource
  /** What runs as the container's only command */
  readonly agent: {
    readonly argv: readonly string[]
    /** Names and values; nothing secret, as it is seen in `docker inspect` */
    readonly env: Readonly<Record<string, string>>
    /** Folder on the host with its file, shown to the guest read-only at `AGENT_FOLDER` */
    readonly folder: string
    /** It collects no orphans: the engine's own first process stands above it */
    readonly init: boolean
  }
  /** Folder on the host with `ETC_FILES`, shown read-only */
  readonly etc: string
  /** Folder on the host with the egress door's socket, shown read-only */
  readonly door?: string
  readonly labels: { readonly node: string; readonly sandbox: string; readonly lease: string }
  /** Let the storage driver bound the root */
  readonly rootQuota: boolean
}

/** Body of the engine's ContainerCreate. */
export type ContainerBody = ReturnType<typeof containerBody>

/** Pure. @throws MeshError E_BAD_REQUEST for a value outside the profile */
export function containerBody(input: ProfileInput) {
  const profile = SANDBOX_PROFILES.find((name) => name === input.profile)
  if (profile === undefined) throw refused('profile', 'strict or build')
  const limits = settleLimits(input.limits, input.limits, HIGHEST)
  const user = profile === 'strict' ? `${GUEST_UID}:${GUEST_UID}` : '0:0'
  return {
    Image: match(input.digest, /^sha256:[0-9a-f]{64}$/, 'digest'),
    Entrypoint: argv(input.agent.argv),
    Cmd: [],
    Env: environment(input.agent.env, profile),
    User: user,
    WorkingDir: WORKSPACE_PATH,
    Hostname: SANDBOX_HOSTNAME,
    Domainname: '',
    // A network namespace with loopback and nothing else, made by the runtime: the engine's own way there starts a process of the engine at each start.
    NetworkDisabled: true,
    Healthcheck: { Test: ['NONE'] },
    Volumes: {},
    ExposedPorts: {},
    StopSignal: 'SIGTERM',
    StopTimeout: 2,
    Tty: false,
    AttachStdin: true,
    AttachStdout: true,
    AttachStderr: true,
    OpenStdin: true,
    // The daemon may go and come back: its end of the input is not the end of the input.
    StdinOnce: false,
    Labels: {
      'mesh.node': label(input.labels.node),
      'mesh.sandbox': label(input.labels.sandbox),
      'mesh.lease': label(input.labels.lease),
    },
    HostConfig: hostConfig(input, profile, limits),
  }
}

function hostConfig(input: ProfileInput, profile: SandboxProfile, limits: SandboxLimits) {
  return {
    Runtime: match(input.runtime, /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}$/, 'runtime'),
    // Who may do what
    Privileged: false,
    CapDrop: ['ALL'],
    CapAdd: profile === 'build' ? [...BUILD_CAPABILITIES] : [],
    SecurityOpt: ['no-new-privileges'],
    ReadonlyRootfs: profile === 'strict',
    GroupAdd: [],
    Sysctls: {},
    // Whom it sees
    NetworkMode: 'none',
    IpcMode: 'private',
    PidMode: '',
    UTSMode: '',
    UsernsMode: '',
    CgroupnsMode: 'private',
    CgroupParent: '',
    PublishAllPorts: false,
    PortBindings: {},
    ExtraHosts: [],
    Links: [],
    VolumesFrom: [],
    Devices: [],
    DeviceRequests: [],
    DeviceCgroupRules: [],
    Binds: [],
    Mounts: mounts(input),
    Tmpfs: tmpfs(input, profile, limits),
    // How much
    Memory: limits.memoryBytes,
    MemorySwap: limits.memoryBytes,
    NanoCpus: limits.milliCpus * 1_000_000,
    PidsLimit: hostPids(limits.pids, input.grade),
    ShmSize: 16 << 20,
    Ulimits: [
      { Name: 'nofile', Soft: 4_096, Hard: 4_096 },
      { Name: 'core', Soft: 0, Hard: 0 },
    ],
    // Guests go before the daemon when the host is out of memory.
    OomScoreAdj: 800,
    StorageOpt: profile === 'build' && input.rootQuota === true ? { size: String(limits.rootBytes) } : {},
    // What the agent says is read from its stream and never stored by the engine.
    LogConfig: { Type: 'none', Config: {} },
    // As the first process of its namespace the agent cannot be ended by the guests, not even by root.
    Init: input.agent.init !== false,
    AutoRemove: false,
    RestartPolicy: { Name: 'no', MaximumRetryCount: 0 },
  }
}

/** gVisor's own threads count as processes of the container: a set for its kernel, and about eleven for each process of the guest (measured with ptrace). */
const hostPids = (pids: number, grade: Grade): number => (grade === 'gvisor' ? GVISOR_THREADS + 12 * pids : pids)
const GVISOR_THREADS = 256

interface Mount {
  readonly Type: 'bind'
  readonly Source: string
  readonly Target: string
  readonly ReadOnly: boolean
  readonly BindOptions: { readonly Propagation: 'rprivate' }
}

function mounts({ workspace, agent, etc, door }: ProfileInput): Mount[] {
  const bind = (source: string, target: string, readOnly: boolean): Mount => ({
    Type: 'bind',
    Source: hostPath(source),
    Target: target,
    ReadOnly: readOnly,
    BindOptions: { Propagation: 'rprivate' },
  })
  const list: Mount[] = []
  if (workspace.kind === 'loop')
    list.push(bind(workspace.workspace, WORKSPACE_PATH, false), bind(workspace.home, HOME_PATH, false))
  list.push(bind(agent.folder, AGENT_FOLDER, true))
  for (const name of ETC_FILES) list.push(bind(`${hostPath(etc)}/${name}`, `/etc/${name}`, true))
  if (door !== undefined) list.push(bind(door, DOOR_PATH, true))
  return list
}

function tmpfs({ workspace }: ProfileInput, profile: SandboxProfile, limits: SandboxLimits): Record<string, string> {
  const owner = profile === 'strict' ? GUEST_UID : 0
  const common = 'rw,nosuid,nodev'
  // Not `noexec`: native modules are built and loaded from there.
  const own = `${common},exec,uid=${owner},gid=${owner},mode=755`
  return {
    '/tmp': `${common},exec,mode=1777,size=${limits.tmpBytes},nr_inodes=${limits.inodes}`,
    ...(workspace.kind === 'loop'
      ? {}
      : {
          [WORKSPACE_PATH]: `${own},size=${limits.diskBytes},nr_inodes=${limits.inodes}`,
          [HOME_PATH]: `${own},size=${limits.tmpBytes},nr_inodes=${limits.inodes}`,
        }),
  }
}

/** The profile holds whatever ceilings the node is configured with; these are what the engine can take. */
const HIGHEST: SandboxLimits = {
  memoryBytes: 2 ** 46,
  milliCpus: 1_024_000,
  pids: 2 ** 22,
  diskBytes: 2 ** 50,
  inodes: 2 ** 32,
  tmpBytes: 2 ** 46,
  rootBytes: 2 ** 50,
}

const HOST_PATH = /^(?!.*\/\.\.?(?:\/|$))\/[^\0\n,]{1,1024}$/

const hostPath = (value: string): string => match(value, HOST_PATH, 'path on the host')
const label = (value: string): string => match(value, /^[A-Za-z0-9._-]{1,128}$/, 'label')

function argv(values: readonly string[]): string[] {
  if (!Array.isArray(values) || values.length === 0 || values.length > 64) throw refused('agent', '1 to 64 arguments')
  return Array.from(values, (value) => match(value, /^[^\0]{0,65536}$/, 'argument'))
}

function environment(given: Readonly<Record<string, string>>, profile: SandboxProfile): string[] {
  const fixed = {
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    HOME: HOME_PATH,
    USER: profile === 'strict' ? 'agent' : 'root',
    LANG: 'C.UTF-8',
    TMPDIR: '/tmp',
  }
  const names = Object.keys(given).filter((name) => !Object.hasOwn(fixed, name))
  const own = names.map((name) => {
    const value = match(given[name] ?? '', /^[^\0]{0,4096}$/, 'value of the environment')
    return `${match(name, /^[A-Z_][A-Z0-9_]{0,63}$/, 'name of the environment')}=${value}`
  })
  return [...Object.entries(fixed).map(([name, value]) => `${name}=${value}`), ...own]
}

function match(value: unknown, pattern: RegExp, what: string): string {
  if (typeof value !== 'string' || !pattern.test(value)) throw refused(what, String(pattern))
  return value
}

function refused(what: string, wanted: string): MeshError {
  return new MeshError('E_BAD_REQUEST', `Cannot make the sandbox: its ${what} is not allowed: wanted ${wanted}`)
}
