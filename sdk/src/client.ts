/** One call for each route of the local API, typed by the route table; retries what may be repeated when the connection to the daemon is lost. */
import type { Problem, Routes } from '../../protocol/api.ts'
import { ManyhandsError, problemError, protocolError } from './errors.ts'
import { LIMITS } from './limits.ts'
import { challengePath, newNonce } from './proof.ts'
import { readBody } from './read-body.ts'
import { type JsonRoute, problem, REPLIES } from './replies.ts'
import { decodeText } from './shape.ts'
import type { Transport, WireAnswer } from './transport.ts'
import { backoffMs, delay, isLost } from './wait.ts'

type Query = Readonly<Record<string, string | number | undefined>>

export interface RouteOptions<R extends JsonRoute> {
  /** For `:name` in the path */
  readonly params?: Readonly<Record<string, string>>
  readonly query?: Routes[R]['query'] & Query
  readonly body?: Routes[R]['body']
  /** The body as JSON text, when it exists already */
  readonly json?: string
  /** Idempotency key: makes a POST repeatable */
  readonly key?: string
  readonly signal?: AbortSignal | undefined
  /** The answer comes when work is done: no time limit but `timeoutMs`. @default false */
  readonly waits?: boolean
  /** Milliseconds. @default 30,000; none when it waits for work */
  readonly timeoutMs?: number | undefined
}

export class Client {
  readonly #transport: Transport
  readonly #closing = new AbortController()
  /** When the daemon was there last; performance.now() */
  #heard = Number.NEGATIVE_INFINITY

  constructor(transport: Transport) {
    this.#transport = transport
  }

  /** Aborts with the client. */
  get signal(): AbortSignal {
    return this.#closing.signal
  }

  /**
   * @throws ManyhandsError with the daemon's code; E_UNREACHABLE, E_NOT_RUNNING, E_TIMEOUT, E_UNPROVEN, E_PROTOCOL of its own; or the signal's reason
   */
  async call<R extends JsonRoute>(route: R, options: RouteOptions<R> = {}): Promise<Routes[R]['reply']> {
    const repeatable = route.startsWith('GET ') || options.key !== undefined
    const once = (): Promise<Routes[R]['reply']> => this.#once(route, options, repeatable)
    return repeatable ? this.repeat(once, options.signal) : once()
  }

  /**
   * Does what may be repeated, again as long as it fails because the daemon is gone, for `LIMITS.reconnectMs`.
   * @throws what `work` throws, or the signal's reason
   */
  async repeat<T>(work: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    let since = performance.now()
    for (let attempt = 0; ; attempt++) {
      const began = performance.now()
      try {
        return await work()
      } catch (error) {
        const now = performance.now()
        // It is the time without a daemon that counts, and not how long a connection served before
        if (attempt === 0 || now - began > LIMITS.reconnectMs) since = now
        if (!this.mayReturn(error) || now - since > LIMITS.reconnectMs) throw error
        await delay(backoffMs(attempt, 1000), this.#joined(signal))
      }
    }
  }

  /** Notes that the daemon was there just now: it answered, or a connection to it broke. */
  heard(): void {
    this.#heard = performance.now()
  }

  /** Whether asking again may help: the connection was lost, or the daemon that was there a moment ago is starting again. */
  mayReturn(error: unknown): boolean {
    if (isLost(error)) {
      this.heard()
      return true
    }
    const gone = error instanceof ManyhandsError && error.code === 'E_NOT_RUNNING'
    return gone && performance.now() - this.#heard <= LIMITS.reconnectMs
  }

  /** Opens an event stream. The caller must read or leave its body. */
  async openStream(path: string, lastEventId: string | undefined, signal: AbortSignal): Promise<WireAnswer> {
    const headers: Record<string, string> = { accept: 'text/event-stream' }
    if (lastEventId !== undefined) headers['last-event-id'] = lastEventId
    const joined = this.#joined(signal)
    const answer = await this.#transport.request({ method: 'GET', path, headers, budget: 'stream', signal: joined })
    this.heard()
    if (answer.status !== 200) throw await refusal(answer)
    const type = answer.header('content-type') ?? ''
    if (type.startsWith('text/event-stream')) return answer
    answer.leave()
    throw protocolError(`Cannot read events: the daemon sent "${type.slice(0, 80)}"`)
  }

  async close(): Promise<void> {
    this.#closing.abort(new ManyhandsError('E_CONFLICT', 'The connection to the mesh was closed'))
    await this.#transport.close()
  }

  #joined(signal: AbortSignal | undefined): AbortSignal {
    return signal ? AbortSignal.any([signal, this.#closing.signal]) : this.#closing.signal
  }

  async #once<R extends JsonRoute>(
    route: R,
    options: RouteOptions<R>,
    repeatable: boolean,
  ): Promise<Routes[R]['reply']> {
    const [method, template] = splitRoute(route)
    const limitMs = options.timeoutMs ?? (options.waits ? undefined : LIMITS.requestMs)
    const limit = limitMs === undefined ? undefined : AbortSignal.timeout(limitMs)
    const joined = this.#joined(options.signal)
    const alive = options.waits ? this.#watchAlive() : undefined
    const ends = [joined, ...(limit ? [limit] : []), ...(alive ? [alive.signal] : [])]
    const body = options.json ?? (options.body === undefined ? undefined : JSON.stringify(options.body))
    const headers: Record<string, string> = { accept: 'application/json' }
    if (body !== undefined) headers['content-type'] = 'application/json'
    if (options.key !== undefined) headers['idempotency-key'] = options.key
    try {
      const answer = await this.#transport.request({
        method,
        path: fillPath(template, options.params, options.query),
        headers,
        body,
        // What may take minutes would keep what answers at once from its turn, a sign of life among it
        budget: options.waits || (limitMs ?? 0) > LIMITS.requestMs ? 'wait' : 'short',
        fresh: !repeatable,
        signal: AbortSignal.any(ends),
      })
      this.heard()
      return await readReply(route, answer)
    } catch (error) {
      if (limit?.aborted && !joined.aborted) throw timeoutError(limitMs ?? 0, error)
      throw error
    } finally {
      alive?.stop()
    }
  }

  /** Work may take any time, so only a daemon that no longer answers anything ends the wait for it: as a lost connection. */
  #watchAlive(): { readonly signal: AbortSignal; stop(): void } {
    const gone = new AbortController()
    const ask = async (): Promise<void> => {
      const signal = AbortSignal.any([this.signal, gone.signal, AbortSignal.timeout(LIMITS.requestMs)])
      const path = challengePath(newNonce())
      const answer = await this.#transport.request({ method: 'GET', path, headers: {}, budget: 'short', signal })
      await readBody(answer, LIMITS.challengeBytes)
    }
    const timer = setInterval(() => {
      ask().catch((error: unknown) => {
        gone.abort(
          new ManyhandsError('E_UNREACHABLE', 'The daemon does not answer any more', {
            hint: 'See whether it still runs: manyhands status; start it with: manyhands up --detach',
            cause: error,
          }),
        )
      })
    }, LIMITS.aliveMs)
    return { signal: gone.signal, stop: () => clearInterval(timer) }
  }
}

async function readReply<R extends JsonRoute>(route: R, answer: WireAnswer): Promise<Routes[R]['reply']> {
  if (answer.status < 200 || answer.status >= 300) throw await refusal(answer)
  const type = answer.header('content-type') ?? ''
  if (!/^application\/json(;|$)/.test(type)) {
    answer.leave()
    throw protocolError(`Cannot read the answer to ${route}: the daemon sent "${type.slice(0, 80)}"`)
  }
  return decodeText(REPLIES[route], await readBody(answer, LIMITS.answerBytes), `the answer to ${route}`)
}

/** The error of an answer that is no success. */
export async function refusal(answer: WireAnswer): Promise<ManyhandsError> {
  if (answer.status >= 300 && answer.status < 400) {
    answer.leave()
    return protocolError('Cannot read the answer: the daemon redirects, which is never followed')
  }
  const type = answer.header('content-type') ?? ''
  if (!/^application\/(problem\+)?json(;|$)/.test(type)) {
    answer.leave()
    return protocolError(`Cannot read the answer: status ${answer.status} without a problem report`)
  }
  return problemError(decodeText<Problem>(problem, await readBody(answer, LIMITS.answerBytes), 'a problem report'))
}

function splitRoute(route: JsonRoute): ['GET' | 'POST' | 'DELETE', string] {
  const space = route.indexOf(' ')
  const method = route.slice(0, space)
  return [method === 'GET' || method === 'DELETE' ? method : 'POST', route.slice(space + 1)]
}

/** Values are escaped, so an id can not reach another route. */
export function fillPath(template: string, params: Readonly<Record<string, string>> = {}, query: Query = {}): string {
  const path = template.replaceAll(/:([a-z]+)/g, (_, name: string) => pathSegment(params[name] ?? ''))
  const search = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) if (value !== undefined) search.set(name, String(value))
  const text = search.toString()
  return text === '' ? path : `${path}?${text}`
}

function pathSegment(value: string): string {
  if (value === '' || value === '.' || value === '..' || value.length > 512) {
    throw new ManyhandsError('E_BAD_REQUEST', `Cannot ask for "${value.slice(0, 80)}": it is not an id`)
  }
  return encodeURIComponent(value)
}

function timeoutError(ms: number, cause: unknown): ManyhandsError {
  return new ManyhandsError('E_TIMEOUT', `The daemon did not answer within ${ms} ms`, {
    hint: 'It may be stopped or overloaded; see its log: manyhands paths',
    cause,
  })
}
