/**
 * An executor without isolation, for tests of what stands on the seam: programs run in this process by `node:vm`. A program is one module whose source is
 * `export default <function expression>`. Jobs can be held up and lost on command.
 */
import { createContext, runInContext } from 'node:vm'
import { NO_USAGE, type Usage } from '../../protocol/job.ts'
import type {
  Executor,
  ExecutorSession,
  JobHooks,
  JobOutcome,
  JobSpec,
  SessionHooks,
} from '../../daemon/exec/executor.ts'

type Handler = (input: unknown, env: Record<string, (...args: unknown[]) => Promise<unknown>>) => unknown

export class ScriptedExecutor implements Executor {
  readonly kind = 'isolate'
  readonly grade = 'process'
  /** Programs run, by digest of nothing: just how many */
  runs = 0
  /** While set, runs wait for it before they start. */
  gate: Promise<void> | undefined
  /** The next so many runs end with E_EXECUTOR_LOST. */
  losses = 0
  #busy = 0

  state(): { slots: number; busy: number } {
    return { slots: 4, busy: this.#busy }
  }

  async run(job: JobSpec, inputJson: string, hooks: JobHooks = {}): Promise<JobOutcome> {
    this.#busy += 1
    this.runs += 1
    const startedAt = performance.now()
    const usage = (): Usage => ({ ...NO_USAGE, wallMs: performance.now() - startedAt, calls: 1 })
    try {
      await this.gate
      hooks.signal?.throwIfAborted()
      if (this.losses > 0) {
        this.losses -= 1
        return { ok: false, error: { code: 'E_EXECUTOR_LOST', message: 'lost on command' }, usage: usage() }
      }
      const output = await call(load(job), inputJson, job, hooks)
      return { ok: true, output, usage: usage() }
    } catch (error) {
      return { ok: false, error: { code: 'E_GUEST', message: messageOf(error) }, usage: usage() }
    } finally {
      this.#busy -= 1
    }
  }

  async open(job: JobSpec, hooks: SessionHooks): Promise<ExecutorSession> {
    const handler = load(job)
    const ended = Promise.withResolvers<Awaited<ExecutorSession['ended']>>()
    let calls = 0
    const end = (): void => ended.resolve({ error: undefined, usage: { ...NO_USAGE, calls } })
    hooks.signal?.addEventListener('abort', end, { once: true })
    return {
      ended: ended.promise,
      close: end,
      call: (id, inputJson) => {
        calls += 1
        call(handler, inputJson, job, hooks).then(
          (output) => hooks.onReply(id, { ok: true, output }),
          (error: unknown) => hooks.onReply(id, { ok: false, error: { code: 'E_GUEST', message: messageOf(error) } }),
        )
      },
    }
  }

  async warm(): Promise<void> {}
  async close(): Promise<void> {}
}

function load(job: JobSpec): Handler {
  const source = job.program.modules.find((module) => module.name === job.program.main)?.source ?? ''
  const expression = source.replace(/^\s*export default /, '').replace(/;\s*$/, '')
  return runInContext(`(${expression})`, createContext({ setTimeout })) as Handler
}

async function call(handler: Handler, inputJson: string, job: JobSpec, hooks: JobHooks): Promise<string> {
  const env = Object.fromEntries(
    job.hostFunctions.map((name) => [
      name,
      async (...args: unknown[]): Promise<unknown> => {
        const text = await hooks.onHostCall?.(name, JSON.stringify(args), new AbortController().signal)
        const value: unknown = JSON.parse(text ?? 'null')
        return value
      },
    ]),
  )
  const input: unknown = JSON.parse(inputJson)
  return JSON.stringify((await handler(input, env)) ?? null)
}

function messageOf(error: unknown): string {
  return typeof error === 'object' && error !== null && 'message' in error ? String(error.message) : String(error)
}
