/**
 * The configuration: every key with its default, bounds and meaning, in one schema. `docs/CONFIG.md` is generated from it.
 * Durations are milliseconds, sizes bytes. Zero configuration is a working node.
 */
import { GRADES, LIMIT_FLOORS } from '../../protocol/job.ts'
import { LIMITS } from '../../protocol/limits.ts'
import type { ChoiceLeaf, FlagLeaf, ListLeaf, NumberLeaf, TextLeaf, ValueOf } from './leaf.ts'

const MINUTE = 60_000
const MIB = 1 << 20

const count = (min: number, max: number, fallback: number, doc: string): NumberLeaf => ({
  kind: 'number',
  min,
  max,
  fallback,
  doc,
})
const ms = (min: number, max: number, fallback: number, doc: string): NumberLeaf =>
  count(min, max, fallback, `${doc}, milliseconds`)
const bytes = (min: number, max: number, fallback: number, doc: string): NumberLeaf =>
  count(min, max, fallback, `${doc}, bytes`)
const flag = (fallback: boolean, doc: string): FlagLeaf => ({ kind: 'boolean', fallback, doc })
const text = (max: number, fallback: string, doc: string): TextLeaf => ({ kind: 'string', max, fallback, doc })
const list = (maxItems: number, itemLength: number, fallback: readonly string[], doc: string): ListLeaf => ({
  kind: 'list',
  maxItems,
  itemLength,
  fallback,
  doc,
})
const choice = <const T extends string>(of: readonly T[], fallback: T, doc: string): ChoiceLeaf<T> => ({
  kind: 'choice',
  of,
  fallback,
  doc,
})

const api = {
  host: text(45, '127.0.0.1', 'Loopback address of the TCP listener; a wider one is refused'),
  port: count(-1, 65_535, -1, 'TCP port on loopback; 0: any free one; -1: no TCP listener'),
  connections: count(8, 100_000, 512, 'Connections of the API at once; more are closed when they come'),
  streams: count(1, 10_000, 128, 'Event streams at once; more are refused'),
  headersMs: ms(100, MINUTE, 10_000, 'For receiving the headers of a request'),
  requestMs: ms(100, 10 * MINUTE, 60_000, 'For receiving a whole request'),
  heartbeatMs: ms(
    100,
    10 * MINUTE,
    15_000,
    'Between signs of life on event streams and duplexes; three missed end a duplex',
  ),
}

const net = {
  listen: list(LIMITS.addresses, 256, ['/ip4/0.0.0.0/tcp/0'], 'Multiaddrs to listen on for peers'),
  announce: list(LIMITS.addresses, 256, [], 'Multiaddrs to tell peers instead of those found'),
  allowLoopback: flag(true, 'Dial and announce loopback addresses: needed for several nodes on one host'),
  allowPrivate: flag(true, 'Dial private addresses (RFC 1918): needed on a LAN'),
  connections: count(4, 10_000, 300, 'Peer connections at once'),
  inboundPerSecond: count(1, 10_000, 50, 'New connections accepted from one address in a second'),
}

const discovery = {
  mdns: flag(true, 'Find nodes of the mesh on the local network'),
  dht: flag(true, 'Publish and look up capability labels in the mesh-wide index'),
  bootstrap: list(64, 256, [], 'Multiaddrs, each ending in /p2p/<peer id>, to connect to at start'),
  cardTtlMs: ms(1_000, 24 * 60 * MINUTE, 2 * MINUTE, 'How long a card counts after it was signed'),
}

const lease = {
  durationMs: ms(200, MINUTE, 10_000, 'A lease that is not renewed ends after'),
  renewMs: ms(50, MINUTE, 3_000, 'Between renewals'),
  marginMs: ms(10, MINUTE, 1_000, 'An executor stops itself this long before its lease ends'),
}

const jobLimits = (
  wall: number,
  cpu: number,
  memory: number,
  output: number,
  log: number,
  calls: number,
  callBytes: number,
  what: string,
) => ({
  wallMs: ms(1, 24 * 60 * MINUTE, wall, `${what} wall-clock time`),
  cpuMs: ms(1, 24 * 60 * MINUTE, cpu, `${what} CPU time`),
  memoryBytes: bytes(LIMIT_FLOORS.memoryBytes, 64 * 1024 * MIB, memory, `${what} memory`),
  outputBytes: bytes(1, 16 * MIB, output, `${what} size of a result`),
  logBytes: bytes(0, 1024 * MIB, log, `${what} console output`),
  hostCalls: count(0, 100_000_000, calls, `${what} number of host calls`),
  hostCallBytes: bytes(0, 64 * 1024 * MIB, callBytes, `${what} size of all host calls together`),
})

const executor = {
  slots: count(0, 1024, 0, 'Jobs at once; 0: four for each CPU'),
  hosts: count(1, 64, 8, 'Isolate host processes at once'),
  grade: choice(GRADES, 'process', 'Lowest isolation grade this node may offer: below it, nothing is offered'),
  warm: count(0, 64, 2, 'Environments kept ready for the next run'),
  queue: count(0, 1_000_000, 10_000, 'Jobs that may wait for a slot; more are refused with a time to retry after'),
  recycleJobs: count(1, 1_000_000, 1_000, 'A host process is replaced after this many jobs'),
  defaults: jobLimits(30_000, 10_000, 64 * MIB, MIB, 256 << 10, 10_000, 64 * MIB, 'Default'),
  ceilings: jobLimits(10 * MINUTE, 10 * MINUTE, 512 * MIB, 8 * MIB, 8 * MIB, 1_000_000, 1024 * MIB, 'Highest'),
}

const placement = {
  offers: count(1, 16, 4, 'Nodes that are asked in parallel'),
  roundMs: ms(10, MINUTE, 2_000, 'Longest wait for bids in one round; three times as long again if there are none'),
  acceptFromPeers: flag(true, 'Run work for other members'),
}

const sandboxLimits = (
  memory: number,
  milliCpus: number,
  pids: number,
  disk: number,
  inodes: number,
  tmp: number,
  root: number,
  what: string,
) => ({
  memoryBytes: bytes(32 * MIB, 1024 * 1024 * MIB, memory, `${what} memory`),
  milliCpus: count(10, 1_024_000, milliCpus, `${what} CPU, thousandths of one`),
  pids: count(128, 4_194_304, pids, `${what} number of processes and threads`),
  diskBytes: bytes(8 * MIB, 1024 * 1024 * MIB, disk, `${what} size of the workspace`),
  inodes: count(256, 1_000_000_000, inodes, `${what} number of files and folders in the workspace`),
  tmpBytes: bytes(MIB, 1024 * 1024 * MIB, tmp, `${what} size of /tmp, which is memory too`),
  rootBytes: bytes(64 * MIB, 1024 * 1024 * MIB, root, `${what} size of what profile "build" writes elsewhere`),
})

const sandbox = {
  engine: text(
    256,
    '',
    'Docker engine: unix:///path or tcp://host:port; "none": none; empty: DOCKER_HOST, else a usual socket',
  ),
  leastGrade: choice(GRADES, 'jailed', 'Weakest isolation grade of sandboxes that is offered'),
  image: text(255, 'manyhands/default', 'Image of sandboxes that name none'),
  slots: count(
    0,
    1_000,
    100,
    'Sandboxes, asleep ones and its own included, up to which this node takes those of other nodes; each of these gets at most half',
  ),
  imagesFromPeers: flag(false, 'Let other nodes pull, import and build images here, under names that are not taken'),
  buildInContainers: flag(false, 'Offer profile "build" also where guests share the kernel of this host'),
  warmEach: count(0, 64, 1, 'Sandboxes kept started of each of the kinds used last'),
  warmKinds: count(0, 16, 2, 'Kinds of sandboxes that are kept started'),
  sleepAfterMs: ms(1_000, 30 * 24 * 60 * MINUTE, 5 * MINUTE, 'A sandbox that is not used sleeps after'),
  leaseMs: ms(
    1_000,
    365 * 24 * 60 * MINUTE,
    7 * 24 * 60 * MINUTE,
    'A sandbox of another node is removed when that node was silent for',
  ),
  silenceMs: ms(1_000, 24 * 60 * MINUTE, 3 * MINUTE, 'A sandbox of another node sleeps when that node was silent for'),
  defaults: sandboxLimits(1024 * MIB, 1_000, 512, 2048 * MIB, 200_000, 256 * MIB, 4096 * MIB, 'Default'),
  ceilings: sandboxLimits(
    16 * 1024 * MIB,
    64_000,
    4_096,
    64 * 1024 * MIB,
    4_000_000,
    4096 * MIB,
    64 * 1024 * MIB,
    'Highest',
  ),
}

const egress = {
  dnsServers: list(8, 64, [], "Name servers of the door, address or address:port, instead of this host's"),
  caFiles: list(
    16,
    4096,
    [],
    'Files with certificates (PEM) of authorities trusted besides the public ones, absolute paths',
  ),
  auditBytes: bytes(64 << 10, 1024 * MIB, 16 * MIB, 'Size at which the log of decisions is moved aside'),
}

const journal = {
  retainRecords: count(1_000, 1_000_000_000, 1_000_000, 'Records kept; older ones are trimmed, their state stays'),
  retainTasks: count(10, 10_000_000, 10_000, 'Ended tasks kept'),
}

const GIB = 1024 * MIB

const artifacts = {
  enabled: flag(true, 'Offer artifacts, when there is a Git that can be used'),
  artifactBytes: bytes(MIB, 1024 * GIB, GIB, 'Most that one artifact may take, large files included'),
  agentBytes: bytes(MIB, 1024 * GIB, 4 * GIB, 'Most that the artifacts of one agent may take'),
  agentArtifacts: count(1, 10_000_000, 100_000, 'Most artifacts of one agent'),
  nodeBytes: bytes(MIB, 64 * 1024 * GIB, 64 * GIB, 'Most that all artifacts may take'),
  nodeArtifacts: count(1, 10_000_000, 2_000_000, 'Most artifacts'),
  replicas: count(1, 64, 1, 'Nodes that shall hold an artifact unless it is made otherwise, this one included'),
  importHosts: list(
    64,
    253,
    ['*'],
    'Hosts that repositories may be imported from; "*": any on the public internet; a name allows private addresses too',
  ),
}

const log = {
  level: choice(
    ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
    'info',
    'Least severe level that is written',
  ),
  file: flag(false, 'Write to the log file instead of standard error'),
  maxBytes: bytes(64 << 10, 1024 * MIB, 16 * MIB, 'Size at which the log file is moved to <name>.1'),
}

export const CONFIG_SCHEMA = {
  name: text(LIMITS.nameBytes, '', "Display name, taken at the first start and at join; empty: the host's name"),
  labels: list(LIMITS.labels, 64, [], 'Labels of this node, as `requires.labels` asks for'),
  api,
  net,
  discovery,
  lease,
  executor,
  placement,
  sandbox,
  egress,
  journal,
  artifacts,
  log,
  drainMs: ms(0, 10 * MINUTE, 10_000, 'For running work to finish at shutdown'),
} as const

/** Validated, complete and frozen. */
export type Config = ValueOf<typeof CONFIG_SCHEMA>
