import { randomInt } from 'node:crypto'
import { MeshError } from '../../../../../protocol/errors.ts'
import { LIMITS } from '../../../../../protocol/limits.ts'
import type {
  BackgroundView,
  ByteDuplex,
  EndEvidence,
  ExecOptions,
  GuestConnection,
  GuestOptions,
  GuestPort,
  GuestProcess,
  GuestTransport,
} from '../guest-connection.ts'
import { noSuchProcess } from '../no-such-process.ts'
import { type JobEnd, ShellLane } from './lane.ts'
import { printfFormat, quote } from './program.ts'
import { ShellFiles } from './shell-files.ts'
import { type ShellJobContext, ShellProcess } from './shell-process.ts'

/** Each job is some processes and files of the guest. */
const MAX_JOBS = 32
/** Input is part of a request, which the shell reads byte by byte. */
const MAX_INPUT = 1 << 20
const INPUT_PIECE = 16 << 10

const lacks = (what: string): MeshError =>
  new MeshError('E_GUEST_FEATURE', `This sandbox has no ${what}: its agent is the simple one`)

export class ShellConnection implements GuestConnection {
  readonly features = { pty: false, ports: false, streamInput: false, watch: false, tree: false } as const
  readonly files: ShellFiles
  readonly closed: Promise<Error | undefined>
  readonly #lane: ShellLane
  readonly #options: GuestOptions
  /** Those who follow a job: several may follow one in the background */
  readonly #jobs = new Set<ShellProcess>()
  /** Those who are about to follow one, and how it ended if it did meanwhile */
  readonly #attaching = new Set<{ readonly id: number; end?: JobEnd }>()
  #active = 0
  #lastAt = performance.now()
  #nextId = randomInt(1, 1 << 30)
  #evidence: EndEvidence | undefined
  #lostKind: 'engine-lost' | 'sandbox-lost' = 'sandbox-lost'
  #over: Error | undefined

  private constructor(transport: GuestTransport, options: GuestOptions) {
    const closed = Promise.withResolvers<Error | undefined>()
    this.closed = closed.promise
    this.#options = options
    const onEnd = (end: JobEnd): void => {
      for (const job of this.#jobs) if (job.id === end.id) job.jobEnded(end)
      for (const one of this.#attaching) if (one.id === end.id) one.end = end
    }
    this.#lane = new ShellLane(transport, options.token, onEnd, (error) => {
      this.#over = error
      for (const job of this.#jobs) job.jobEnded('lost')
      closed.resolve(error)
    })
    this.files = new ShellFiles(this.#lane)
  }

  static async open(transport: GuestTransport, options: GuestOptions, signal: AbortSignal): Promise<ShellConnection> {
    const connection = new ShellConnection(transport, options)
    await connection.#lane.begin(signal)
    connection.#evidence = await options.evidence?.()
    return connection
  }

  get activity(): { active: number; lastAt: number } {
    return { active: this.#active, lastAt: this.#lastAt }
  }

  hold(): () => void {
    this.#active += 1
    let held = true
    return () => {
      if (!held) return
      held = false
      this.#active -= 1
      this.#lastAt = performance.now()
    }
  }

  exec(options: ExecOptions): GuestProcess {
    if (options.pty !== undefined) throw lacks('terminals')
    if (options.stdin === 'stream') throw lacks('input while a command runs')
    const start = this.#startScript(options)
    this.#nextId += 1
    return this.#follow(this.#nextId, options, start(this.#nextId), [0, 0])
  }

  async processes(): Promise<readonly BackgroundView[]> {
    const { bytes } = await this.#lane.run('mh_jobs')
    const lines = bytes.toString().split('\n')
    const views: BackgroundView[] = []
    for (let at = 0; at + 1 < lines.length; at += 2) {
      const [id = '', pid = '', running, size = ''] = lines[at]?.split(' ') ?? []
      if (!/^\d{1,10}$/.test(id)) continue
      views.push({
        id: Number(id),
        pid: Number(pid),
        running: running === '1',
        outputBytes: Number(size),
        name: lines[at + 1] ?? '',
      })
    }
    return views
  }

  async attach(id: number): Promise<GuestProcess> {
    if (!Number.isInteger(id) || id < 0) throw new MeshError('E_BAD_REQUEST', `There is no process "${id}"`)
    this.#demandRoom()
    const meanwhile: { id: number; end?: JobEnd } = { id }
    this.#attaching.add(meanwhile)
    try {
      const { status, bytes } = await this.#lane.run(
        `{ [ -e "$mh_dir/${id}.bg" ] || (exit 2); } && wc -c <"$mh_dir/${id}.1" && wc -c <"$mh_dir/${id}.2" && { cat "$mh_dir/${id}.rc" 2>/dev/null; true; }`,
      )
      if (status !== 0) throw noSuchProcess(id)
      const [out = 0, err = 0, code] = bytes.toString().trim().split(/\s+/).map(Number)
      const from = [out, err].map((size) => Math.max(0, size - LIMITS.guestKeptBytes))
      const attached = { argv: [`process ${id}`], background: true }
      const job = this.#follow(id, attached, undefined, [from[0] ?? 0, from[1] ?? 0])
      const end = code === undefined ? meanwhile.end : { id, status: code, which: '12' }
      if (end !== undefined) job.jobEnded(end)
      return job
    } finally {
      this.#attaching.delete(meanwhile)
    }
  }

  async killAll(): Promise<void> {
    // everything but the shell itself, whose only child at that moment is none
    await this.#lane.run(
      `for o in "$mh_dir"/*.pid; do [ -e "$o" ] || continue; o=\${o##*/}; mh_kill \${o%.pid} KILL; done; for o in /proc/[0-9]*; do o=\${o#/proc/}; [ "$o" = 1 ] || [ "$o" = $$ ] || [ $$ -ne 1 ] || kill -s KILL "$o" 2>/dev/null; done; true`,
    )
  }

  dial(): Promise<ByteDuplex> {
    return Promise.reject(lacks('ports'))
  }

  listen(): Promise<GuestPort> {
    return Promise.reject(lacks('ports'))
  }

  async ping(): Promise<void> {
    await this.#lane.run(':')
  }

  lost(reason: 'engine-lost' | 'sandbox-lost', error?: Error): void {
    this.#lostKind = reason
    const code = reason === 'engine-lost' ? 'E_ENGINE_LOST' : 'E_SANDBOX_LOST'
    this.#lane.lose(error ?? new MeshError(code, 'The connection to the sandbox was given up'))
  }

  close(): void {
    this.lost('sandbox-lost')
  }

  /** @throws MeshError E_OVERLOADED */
  #demandRoom(): void {
    if (this.#jobs.size >= MAX_JOBS)
      throw new MeshError('E_OVERLOADED', `The sandbox has ${MAX_JOBS} commands open already`, { retryAfterMs: 100 })
  }

  /** @throws MeshError E_BAD_REQUEST, E_TOO_LARGE, E_OVERLOADED, E_SANDBOX_LOST */
  #startScript(options: ExecOptions): (id: number) => string {
    if (this.#over !== undefined)
      throw this.#over instanceof MeshError ? this.#over : new MeshError('E_SANDBOX_LOST', 'The sandbox is gone')
    this.#demandRoom()
    const variables = Object.entries({ ...this.#options.env, ...options.env }).map(([name, value]) => {
      if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name))
        throw new MeshError('E_BAD_REQUEST', `Cannot set the variable "${name}"`)
      return `${name}=${value}`
    })
    const words = [options.cwd ?? this.#options.cwd, String(variables.length), ...variables, ...options.argv]
    if (options.argv.length === 0 || options.argv[0] === '')
      throw new MeshError('E_BAD_REQUEST', 'Cannot run a command: argv names no program')
    if (words.some((one) => one.includes('\0')))
      throw new MeshError('E_BAD_REQUEST', 'Cannot run a command: it holds a zero character')
    const bytes = words.reduce((sum, one) => sum + Buffer.byteLength(one), 0)
    const input = typeof options.stdin === 'string' ? Buffer.from(options.stdin) : options.stdin
    if (bytes > LIMITS.guestArgBytes || (input?.length ?? 0) > MAX_INPUT) {
      throw new MeshError('E_TOO_LARGE', 'Cannot run a command: its arguments or its input are too long', {
        hint: 'Write them to a file',
      })
    }
    const kind = options.background === true ? 'bg' : 'fg'
    const name = Buffer.from(options.name ?? '')
      .toString('utf8', 0, LIMITS.nameBytes)
      .replaceAll('\n', ' ')
    return (id) => {
      const parts: string[] = []
      for (let at = 0; input !== undefined && at < input.length; at += INPUT_PIECE) {
        parts.push(`printf ${printfFormat(input.subarray(at, at + INPUT_PIECE))} >>"$mh_dir/${id}.in"`)
      }
      parts.push(
        `mh_job ${id} ${kind} ${parts.length > 0 ? `"$mh_dir/${id}.in"` : '/dev/null'} ${words.map(quote).join(' ')}`,
      )
      if (kind === 'bg') parts.push(`printf %s ${quote(name)} >"$mh_dir/${id}.bg"`)
      return parts.join('; ')
    }
  }

  #follow(id: number, options: ExecOptions, start: string | undefined, from: readonly [number, number]): ShellProcess {
    const release = (options.passive ?? options.background) === true ? () => undefined : this.hold()
    const context: ShellJobContext = {
      lane: this.#lane,
      before: this.#evidence,
      evidence: async () => {
        const now = await this.#options.evidence?.().catch(() => undefined)
        if (now !== undefined) this.#evidence = now
        return now
      },
      lostKind: () => this.#lostKind,
      start,
      from,
      forget: () => {
        this.#jobs.delete(job)
        release()
        if (options.background !== true) this.#lane.run(`rm -f "$mh_dir/${id}".*`).catch(() => undefined)
      },
    }
    const job = new ShellProcess(id, context, options)
    this.#jobs.add(job)
    return job
  }
}
