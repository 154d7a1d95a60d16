/**
 * Programs of the operator that answer requests in place of hosts, where a rule says so: `<name>.ts` or `<name>.js` in the folder `handlers` of the node's data.
 * Each request gets an isolate of its own, with no function of the host and no network. It is no task: nothing of it is recorded, for requests may hold secrets.
 *
 *   export default ({ method, url, headers, text, base64, subject }) => ({ status, headers, text })     // or base64 in place of text
 */
import { isUtf8 } from 'node:buffer'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as z from 'zod'
import { EGRESS_LIMITS } from '../../protocol/egress/limits.ts'
import type { EgressSubject } from '../../protocol/egress/rule.ts'
import { MeshError } from '../../protocol/errors.ts'
import type { Executor, Limits } from '../exec/executor.ts'
import { normaliseProgram } from '../programs/program.ts'
import type { HandlerRequest, HandlerResponse } from './proxy/messages.ts'

export interface HandlerProgramsOptions {
  readonly folder: string
  readonly executor: Pick<Executor, 'run'>
}

/** Less than the proxy waits. */
const LIMITS: Limits = {
  wallMs: EGRESS_LIMITS.handlerMs - 5_000,
  cpuMs: 10_000,
  memoryBytes: 128 << 20,
  outputBytes: 2 * EGRESS_LIMITS.handlerBodyBytes,
  logBytes: 0,
  hostCalls: 0,
  hostCallBytes: 0,
}
/** At once; the proxy's answer to what is beyond is that the handler did not answer. */
const MOST = 16
/** Its own trust domain: never in one process with anybody's tasks. */
const DOMAIN = 'egress-handlers'
const EXTENSIONS = ['.ts', '.js'] as const

const answerSchema = z.object({
  status: z.int().min(200).max(599).default(200),
  headers: z.record(z.string().max(256), z.string().max(16 << 10)).default({}),
  text: z.string().max(EGRESS_LIMITS.handlerBodyBytes).exactOptional(),
  base64: z.base64().exactOptional(),
})

export class HandlerPrograms {
  readonly #options: HandlerProgramsOptions
  #running = 0

  constructor(options: HandlerProgramsOptions) {
    this.#options = options
  }

  /** @throws MeshError E_NOT_FOUND no such program, E_OVERLOADED, E_RESULT no answer, and as the program fails */
  async run(request: HandlerRequest, subject: EgressSubject): Promise<HandlerResponse> {
    if (this.#running >= MOST) throw new MeshError('E_OVERLOADED', `${MOST} handlers run already`)
    this.#running += 1
    try {
      const { filename, source } = await this.#read(request.program)
      const job = {
        program: normaliseProgram({ source, filename }),
        limits: LIMITS,
        domain: DOMAIN,
        hostFunctions: [],
      }
      const outcome = await this.#options.executor.run(job, JSON.stringify(inputOf(request, subject)))
      if (!outcome.ok) throw new MeshError(outcome.error.code, `The handler ${request.program} failed`)
      return responseOf(outcome.output, request.program)
    } finally {
      this.#running -= 1
    }
  }

  async has(name: string): Promise<boolean> {
    return (await this.#find(name)) !== undefined
  }

  /** @throws MeshError E_NOT_FOUND */
  async #read(name: string): Promise<{ filename: string; source: string }> {
    const found = await this.#find(name)
    if (found === undefined) throw new MeshError('E_NOT_FOUND', `There is no handler program "${name}"`)
    return found
  }

  /** Anew for each request: what the operator saved counts at once. */
  async #find(name: string): Promise<{ filename: string; source: string } | undefined> {
    for (const extension of EXTENSIONS) {
      const filename = `${name}${extension}`
      try {
        return { filename, source: await readFile(join(this.#options.folder, filename), 'utf8') }
      } catch {
        // the next one
      }
    }
    return undefined
  }
}

function inputOf({ method, url, headers, body }: HandlerRequest, subject: EgressSubject): object {
  const bytes = Buffer.from(body, 'base64')
  return { method, url, headers, subject, base64: body, ...(isUtf8(bytes) ? { text: bytes.toString('utf8') } : {}) }
}

function responseOf(output: string, program: string): HandlerResponse {
  const { success, data } = answerSchema.safeParse(JSON.parse(output))
  if (!success) throw new MeshError('E_RESULT', `The handler ${program} returned no response`)
  const { status, headers, text = '', base64 = Buffer.from(text, 'utf8').toString('base64') } = data
  return { status, headers: Object.entries(headers), body: base64 }
}
