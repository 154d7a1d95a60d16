import type { JobHooks, JobOutcome, JobSpec, Limits } from '../../daemon/exec/executor.ts'
import type { IsolateExecutor } from '../../daemon/exec/isolate/isolate-executor.ts'

const MIB = 1 << 20

/** Roomy: each test lowers the one limit it is about. */
export const ROOMY: Limits = {
  wallMs: 20_000,
  cpuMs: 20_000,
  memoryBytes: 64 * MIB,
  outputBytes: MIB,
  logBytes: MIB,
  hostCalls: 10_000,
  hostCallBytes: 8 * MIB,
}

export interface SpecOptions {
  readonly limits?: Partial<Limits>
  readonly domain?: string
  readonly hostFunctions?: readonly string[]
}

/** A program of one module. */
export function specOf(source: string, options: SpecOptions = {}): JobSpec {
  return {
    program: { main: 'main.js', modules: [{ name: 'main.js', type: 'js', source }] },
    limits: { ...ROOMY, ...options.limits },
    domain: options.domain ?? 'tenant-a',
    hostFunctions: options.hostFunctions ?? [],
  }
}

export function run(
  executor: IsolateExecutor,
  source: string,
  options: SpecOptions = {},
  hooks: JobHooks = {},
): Promise<JobOutcome> {
  return executor.run(specOf(source, options), 'null', hooks)
}

/** `ok` or the code of the failure. */
export function codeOf(outcome: JobOutcome): string {
  return outcome.ok ? 'ok' : outcome.error.code
}

export async function until(what: () => boolean, ms = 5000): Promise<void> {
  const end = performance.now() + ms
  while (!what()) {
    if (performance.now() > end) throw new Error('Waited too long')
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}
