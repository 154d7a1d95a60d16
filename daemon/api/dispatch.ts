/** From a request that passed the guard to its answer: route, token, query, body, handler, in this order. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { TrieRouter } from 'hono/router/trie-router'
import { MeshError, toMeshError } from '../../protocol/errors.ts'
import { LIMITS } from '../../protocol/limits.ts'
import type { AccessCheck } from './access.ts'
import { check } from './check.ts'
import { readJsonBody, refuseBody } from './read-body.ts'
import { idempotencyKey } from './request-schemas.ts'
import { sendJson, sendProblem, sendText } from './respond.ts'
import { KeyedAnswers } from './keyed-answers.ts'
import type { AnyRequest, AnyRow, EventSource } from './route.ts'
import type { Caller } from './tokens.ts'

/** Ids and names in paths; nothing in them can be taken for a path of its own. */
const PARAMETER = /^[\w.:~-]{1,128}$/

export interface DispatchParts {
  readonly rows: readonly AnyRow[]
  readonly access: AccessCheck
  readonly metricsType: string
  /** Takes over a response whose row answers with events; it ends with the token named `subject`. @throws MeshError E_OVERLOADED */
  openStream(response: ServerResponse, source: EventSource<unknown>, subject: string): void
  /** @param error set when it was refused or failed */
  onDone(row: AnyRow | undefined, status: number, seconds: number, error: MeshError | undefined): void
}

export interface Found {
  readonly row: AnyRow
  readonly params: Readonly<Record<string, string>>
}

export interface Dispatcher {
  /** Never rejects. @param stopping aborts waiting requests when the daemon stops */
  handle(request: IncomingMessage, response: ServerResponse, stopping: AbortSignal): Promise<void>
  /** @returns undefined when no row matches. @throws MeshError E_NOT_FOUND when one does, for nothing that could have been made */
  find(method: string, target: string): Found | undefined
}

export function createDispatcher(parts: DispatchParts): Dispatcher {
  const router = new TrieRouter<AnyRow>()
  const answers = new KeyedAnswers()
  for (const row of parts.rows) router.add(row.method, row.path, row)
  const find = (method: string, target: string): Found | undefined => {
    const [first] = router.match(method, pathOf(target))[0]
    if (!first) return undefined
    const params: Record<string, string> = {}
    for (const [name, raw] of Object.entries(first[1])) {
      const value = typeof raw === 'string' ? decode(raw) : undefined
      if (value === undefined || !PARAMETER.test(value))
        throw new MeshError('E_NOT_FOUND', `Cannot find it: the ${name} in the path is none that there could be`, {
          hint: 'Ids and names are 1 to 128 letters, digits and "_", ".", ":", "~", "-"',
        })
      params[name] = value
    }
    return { row: first[0], params }
  }

  const answer = async (
    found: Found,
    request: IncomingMessage,
    response: ServerResponse,
    stopping: AbortSignal,
  ): Promise<void> => {
    const { row, params } = found
    const caller = parts.access.admit(row.access, request.headers.authorization)
    const query = parseQuery(row, request.url ?? '')
    if (row.body === undefined) refuseBody(request)
    const body =
      row.body === undefined
        ? undefined
        : check(row.body, await readJsonBody(request, row.maxBodyBytes ?? LIMITS.apiBodyBytes), 'the request')
    const asker = taskCaller(caller, request)
    const asked: AnyRequest = {
      params,
      query,
      body,
      caller: asker,
      lastEventId: header(request, 'last-event-id'),
      get signal() {
        return goneSignal(response, stopping)
      },
      after: (act) => (response.closed ? act() : void response.once('close', act)),
    }
    const act = (): unknown => row.handle(asked)
    const result = await (row.isKeyed ? answers.once(asker, [row.name, params, body], act) : act())
    if (row.kind === 'events' && isEventSource(result)) {
      // The token may have been revoked while the source was looked for: the stream would not hear of it
      parts.access.admit(row.access, request.headers.authorization)
      return parts.openStream(response, result, caller.name)
    }
    if (row.kind === 'text') return sendText(response, 200, parts.metricsType, String(result))
    sendJson(response, 200, result)
  }

  return {
    find,
    async handle(request, response, stopping) {
      const began = performance.now()
      let found: Found | undefined
      let error: MeshError | undefined
      try {
        found = find(request.method ?? '', request.url ?? '')
        if (!found)
          throw new MeshError('E_NOT_FOUND', 'Cannot find the route: no method and path of the API match', {
            hint: 'GET /v0/openapi.json lists them',
          })
        await answer(found, request, response, stopping)
      } catch (thrown) {
        error = toMeshError(thrown)
        // An unread rest of the body would be taken for the next request
        sendProblem(response, error, !request.complete)
      }
      parts.onDone(found?.row, response.statusCode, (performance.now() - began) / 1000, error)
    },
  }
}

function pathOf(target: string): string {
  const end = target.indexOf('?')
  return end < 0 ? target : target.slice(0, end)
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

function parseQuery(row: AnyRow, target: string): unknown {
  const start = target.indexOf('?')
  if (start < 0 && row.query === undefined) return {}
  const entries = start < 0 ? [] : [...new URLSearchParams(target.slice(start + 1))]
  const given = Object.fromEntries(entries)
  if (Object.keys(given).length < entries.length)
    throw new MeshError('E_BAD_REQUEST', 'Cannot read the query: it has the same name twice')
  if (row.query !== undefined) return check(row.query, given, 'the query')
  if (entries.length > 0) throw new MeshError('E_BAD_REQUEST', 'Cannot read the query: this route takes none')
  return {}
}

function taskCaller(caller: Caller, request: IncomingMessage): { subject: string; key?: string } {
  const raw = header(request, 'idempotency-key')
  return raw === undefined
    ? { subject: caller.name }
    : { subject: caller.name, key: check(idempotencyKey, raw, 'the Idempotency-Key header') }
}

function header(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name]
  return typeof value === 'string' ? value : undefined
}

/** Aborts when the client goes away before its answer, or the daemon stops. */
function goneSignal(response: ServerResponse, stopping: AbortSignal): AbortSignal {
  const gone = new AbortController()
  const onStop = (): void => gone.abort(stopping.reason)
  stopping.addEventListener('abort', onStop, { once: true })
  if (stopping.aborted) onStop()
  const onGone = (): void => {
    stopping.removeEventListener('abort', onStop)
    // Answered: nobody listens any more
    if (!response.writableFinished) gone.abort(new MeshError('E_CANCELED', 'The client went away'))
  }
  if (response.closed) onGone()
  else response.once('close', onGone)
  return gone.signal
}

function isEventSource(value: unknown): value is EventSource<unknown> {
  return typeof value === 'object' && value !== null && 'watch' in value && 'isLast' in value
}
