/**
 * What one node asks of another about sandboxes, and what is answered. An **op** is one JSON value; ops that stream carry frames besides (`op-frame.ts`). The
 * same ops run on the node that holds the sandbox, whoever asks: the local API, or a peer over the mesh. Who asks is known by its connection and never said in an op.
 */
import * as z from 'zod'
import type {
  BoxControl,
  BoxOpen,
  FileReply,
  ImageView,
  ProcessView,
  SandboxView,
  SnapshotView,
} from '../api-sandboxes.ts'
import { GRADES } from '../job.ts'
import { LIMITS } from '../limits.ts'

/** Distributes over unions, so that an op is still told apart by its name. */
type Immutable<T> = T extends readonly (infer U)[]
  ? readonly Immutable<U>[]
  : T extends object
    ? { readonly [K in keyof T]: Immutable<T[K]> }
    : T

const MAX_MS = 365 * 86_400_000
const text = (max: number) => z.string().min(1).max(max)
/** A NUL ends a text in the guest's own calls: nothing behind it would be seen */
const plain = (max: number) => text(max).refine((value) => !value.includes('\0'), 'holds a NUL')
const whole = (max: number) => z.int().min(0).max(max)

export const sandboxName = z.string().regex(/^[a-z0-9][a-z0-9._-]{0,63}$/, 'is 1 to 64 of a-z 0-9 . _ -')
export const sandboxId = z.string().regex(/^[\w.:~-]{1,128}$/, 'is the id or name of a sandbox')
const envName = z.string().regex(/^[A-Za-z_]\w{0,255}$/, 'is the name of a variable')
export const environment = z
  .record(envName, z.string().max(LIMITS.sandboxEnvBytes))
  .refine((env) => Object.entries(env).every(([, value]) => !value.includes('\0')), 'holds a NUL')
  .refine(
    (env) => JSON.stringify(env).length <= LIMITS.sandboxEnvBytes,
    `is longer than ${LIMITS.sandboxEnvBytes} bytes`,
  )
const path = plain(4096)
const size = z.strictObject({ columns: z.int().min(1).max(10_000), rows: z.int().min(1).max(10_000) })
const port = z.int().min(1).max(65_535)
const timeoutMs = z.int().min(1).max(MAX_MS).exactOptional()
export const imageName = plain(255)

export const sandboxLimits = z.strictObject({
  memoryBytes: whole(2 ** 50).exactOptional(),
  cpus: z.number().min(0.01).max(1024).exactOptional(),
  pids: whole(1 << 22).exactOptional(),
  diskBytes: whole(2 ** 50).exactOptional(),
  inodes: whole(2 ** 32).exactOptional(),
  tmpBytes: whole(2 ** 50).exactOptional(),
  rootBytes: whole(2 ** 50).exactOptional(),
})

const execFields = {
  argv: z
    .array(
      z
        .string()
        .max(LIMITS.sandboxArgBytes)
        .refine((part) => !part.includes('\0'), 'holds a NUL'),
    )
    .min(1)
    .max(4096),
  cwd: path.exactOptional(),
  env: environment.exactOptional(),
  timeoutMs,
  terminal: size.exactOptional(),
  name: plain(64).exactOptional(),
  stdin: z.boolean().exactOptional(),
  maxOutputBytes: z.int().min(1).max(Number.MAX_SAFE_INTEGER).exactOptional(),
}
const of = { sandbox: sandboxId }

const streamOps = [
  z.strictObject({ op: z.literal('exec'), ...of, ...execFields }),
  z.strictObject({ op: z.literal('start'), ...of, ...execFields }),
  z.strictObject({ op: z.literal('logs'), ...of, process: whole(2 ** 32), follow: z.boolean().exactOptional() }),
  z.strictObject({ op: z.literal('read'), ...of, path }),
  z.strictObject({ op: z.literal('write'), ...of, path, mode: whole(0o777).exactOptional() }),
  z.strictObject({ op: z.literal('watch'), ...of, path }),
  z.strictObject({ op: z.literal('port'), ...of, port }),
  z.strictObject({ op: z.literal('wait-port'), ...of, port, timeoutMs }),
  z.strictObject({ op: z.literal('wait-log'), ...of, process: whole(2 ** 32), text: plain(4096), timeoutMs }),
  z.strictObject({
    op: z.literal('code'),
    ...of,
    language: z.enum(['python', 'node', 'shell']),
    code: z.string().max(LIMITS.guestCodeBytes),
    context: sandboxName.exactOptional(),
    timeoutMs,
  }),
  z.strictObject({ op: z.literal('image-pull'), image: imageName, on: text(128).exactOptional() }),
  z.strictObject({ op: z.literal('image-import'), image: imageName, on: text(128).exactOptional() }),
  z.strictObject({ op: z.literal('image-build'), on: text(128).exactOptional() }),
] as const

export const boxOpen: z.ZodType<BoxOpen> = z.discriminatedUnion('op', streamOps)
export const boxControl: z.ZodType<BoxControl> = z.union([
  z.strictObject({ signal: z.string().regex(/^SIG[A-Z0-9]{1,12}$/) }),
  z.strictObject({ resize: size }),
])

export const fileRequest = z.discriminatedUnion('op', [
  z.strictObject({ op: z.literal('list'), path }),
  z.strictObject({ op: z.literal('stat'), path }),
  z.strictObject({ op: z.literal('mkdir'), path }),
  z.strictObject({ op: z.literal('move'), path, to: path }),
  z.strictObject({ op: z.literal('remove'), path, recursive: z.boolean().exactOptional() }),
])

/** What a sandbox is made by, on the node that holds it. */
export const sandboxOrder = z.strictObject({
  image: imageName.exactOptional(),
  name: sandboxName.exactOptional(),
  limits: sandboxLimits.exactOptional(),
  isolation: z.enum(GRADES).exactOptional(),
  profile: z.enum(['strict', 'build']).exactOptional(),
  env: environment.exactOptional(),
  idleMs: whole(MAX_MS).exactOptional(),
  agent: sandboxName.exactOptional(),
})
export type SandboxOrder = Immutable<z.infer<typeof sandboxOrder>>

const ticket = z.strictObject({
  id: text(256),
  kit: z.strictObject({
    env: z.record(z.string().max(256), z.string().max(64 << 10)),
    files: z.array(z.strictObject({ path, content: z.string().max(1 << 18), mode: whole(0o777) })).max(16),
    caPem: z.string().max(64 << 10),
    placeholders: z.record(z.string().max(256), z.string().max(4096)),
  }),
})

const callOps = [
  z.strictObject({ op: z.literal('create'), order: sandboxOrder }),
  /** The asker's own; all of them when no ids are given */
  z.strictObject({ op: z.literal('views'), ids: z.array(sandboxId).max(1024).exactOptional() }),
  z.strictObject({ op: z.literal('sleep'), ...of, depth: z.enum(['pause', 'stop']).exactOptional() }),
  z.strictObject({ op: z.literal('wake'), ...of }),
  z.strictObject({ op: z.literal('remove'), ...of }),
  z.strictObject({ op: z.literal('snapshot'), ...of, name: sandboxName }),
  z.strictObject({ op: z.literal('remove-snapshot'), ...of, name: sandboxName }),
  z.strictObject({ op: z.literal('restore'), ...of, name: sandboxName.exactOptional() }),
  z.strictObject({
    op: z.literal('fork'),
    ...of,
    name: sandboxName.exactOptional(),
    from: sandboxName.exactOptional(),
  }),
  z.strictObject({ op: z.literal('files'), ...of, request: fileRequest }),
  /** As `read` of a file of at most `LIMITS.sandboxSmallBytes`; a larger one is E_TOO_LARGE before any of it is sent */
  z.strictObject({ op: z.literal('read-small'), ...of, path }),
  /** As `write` of at most so many bytes */
  z.strictObject({ op: z.literal('write-small'), ...of, path, mode: whole(0o777).exactOptional() }),
  z.strictObject({ op: z.literal('processes'), ...of }),
  z.strictObject({ op: z.literal('signal'), ...of, process: whole(2 ** 32), signal: z.string().max(16) }),
  z.strictObject({ op: z.literal('images') }),
  /** Lane 1: everything needed to make it again elsewhere */
  z.strictObject({ op: z.literal('export'), ...of }),
  /** Lane 0: what `export` gave */
  z.strictObject({
    op: z.literal('import'),
    name: sandboxName.exactOptional(),
    agent: sandboxName.exactOptional(),
    isolation: z.enum(GRADES).exactOptional(),
  }),
  /** The owner still wants them. Answers with those that are there */
  z.strictObject({ op: z.literal('renew'), ids: z.array(sandboxId).max(1024) }),
  /** A door lent by the asker: the sandbox's way out leads there */
  z.strictObject({ op: z.literal('door'), ...of, ticket }),
] as const

/** Everything that can be asked of the node that holds a sandbox. */
export const sandboxOp = z.discriminatedUnion('op', [...streamOps, ...callOps])
export type SandboxOp = Immutable<z.infer<typeof sandboxOp>>
export type SandboxOpName = SandboxOp['op']

/** Ops whose frames are many or large: each gets a stream of its own instead of a channel among others. */
export const BULK_OPS: ReadonlySet<SandboxOpName> = new Set<SandboxOpName>([
  'read',
  'write',
  'port',
  'code',
  'export',
  'import',
  'image-import',
])

const end = z.strictObject({
  reason: z.enum([
    'exit',
    'signal',
    'not-started',
    'timeout',
    'memory',
    'pids',
    'disk',
    'output',
    'canceled',
    'engine-lost',
    'sandbox-lost',
  ]),
  code: z.int().exactOptional(),
  signal: z.string().max(32).exactOptional(),
  message: z.string().max(1024).exactOptional(),
})
const short = z.string().max(1024)
const count = z.number().min(0)
const process: z.ZodType<ProcessView> = z.strictObject({
  id: count,
  name: short,
  pid: count,
  running: z.boolean(),
  outputBytes: count,
})
const snapshot: z.ZodType<SnapshotView> = z.strictObject({ name: short, createdAt: short, bytes: count })
export const sandboxView: z.ZodType<SandboxView> = z.strictObject({
  id: sandboxId,
  name: sandboxName.exactOptional(),
  state: z.enum(['running', 'paused', 'stopped', 'lost']),
  node: short,
  nodeName: short,
  image: short,
  digest: short,
  grade: z.enum(GRADES),
  profile: z.enum(['strict', 'build']),
  limits: z.strictObject({
    memoryBytes: count,
    cpus: count,
    pids: count,
    diskBytes: count,
    inodes: count,
    tmpBytes: count,
    rootBytes: count,
  }),
  workspace: short,
  survivesStop: z.boolean(),
  snapshots: z.array(snapshot).max(1024),
  createdAt: short,
  agent: short.exactOptional(),
  note: short.exactOptional(),
})
const image: z.ZodType<ImageView> = z.strictObject({
  names: z.array(short).max(256),
  digest: short,
  bytes: count,
  createdAt: short,
})
const entries: z.ZodType<FileReply['entries']> = z.array(
  z.strictObject({
    name: z.string().max(4096),
    type: z.enum(['file', 'folder', 'symlink', 'other']),
    bytes: count,
    mode: count,
    modifiedMs: z.number(),
  }),
)

/** The answer to any op: the fields that it says. Strict: what another node sends is passed on to a client. */
export const opReply = z.strictObject({
  end: end.exactOptional(),
  process: process.exactOptional(),
  results: z
    .array(z.strictObject({ type: short, data: z.string(), base64: z.boolean().exactOptional() }))
    .max(1000)
    .exactOptional(),
  error: z.strictObject({ name: z.string(), message: z.string(), trace: z.string().exactOptional() }).exactOptional(),
  stateKept: z.boolean().exactOptional(),
  line: z.string().exactOptional(),
  image: image.exactOptional(),
  images: z.array(image).max(1024).exactOptional(),
  view: sandboxView.exactOptional(),
  views: z.array(sandboxView).max(1024).exactOptional(),
  snapshot: snapshot.exactOptional(),
  entries: entries.exactOptional(),
  processes: z.array(process).max(4096).exactOptional(),
})
export type OpReply = Immutable<z.infer<typeof opReply>>
