/** Events of the daemon as an async iterable that resumes where it was when the connection is lost. Pulled: a slow reader slows the sender. */
import type { Client } from './client.ts'
import { ManyhandsError, problemError } from './errors.ts'
import { LIMITS } from './limits.ts'
import { problem } from './replies.ts'
import { decodeText, type Shape } from './shape.ts'
import { type ServerEvent, SseParser } from './sse.ts'
import { backoffMs, delay } from './wait.ts'

export interface EventOptions {
  /** Ends the iteration by throwing its reason. @default none: until the loop is left */
  readonly signal?: AbortSignal | undefined
  /** How long to try again after the daemon went away, milliseconds. @default without end for `events`, `watch` and `log`, else 15,000 */
  readonly reconnectMs?: number | undefined
  /** Told when the connection was lost, once until it is there again */
  readonly onLost?: (() => void) | undefined
  /** Told when the stream was opened again; events between may have been missed only if the daemon forgot them */
  readonly onReconnect?: (() => void) | undefined
}

/** For events that are listened to for good: the daemon is waited for without end, unless the options say how long. */
export function lasting(options: EventOptions): EventOptions {
  return { ...options, reconnectMs: options.reconnectMs ?? Number.POSITIVE_INFINITY }
}

/**
 * Never ends by itself.
 * @param instead asked for an event to go on with whenever there is no stream to be had, for as long as it takes. @default none: E_OVERLOADED after a while
 * @throws ManyhandsError
 */
export async function* eventStream<T>(
  client: Client,
  path: string,
  shape: Shape<T>,
  options: EventOptions = {},
  instead?: () => Promise<T | undefined>,
): AsyncGenerator<T> {
  const signal = options.signal ? AbortSignal.any([options.signal, client.signal]) : client.signal
  const reconnectMs = options.reconnectMs ?? LIMITS.reconnectMs
  let last: string | undefined
  let again = false
  /** In a row */
  let failures = 0
  /** The first of them, or when the daemon was there last */
  let since = 0
  /** Whether the listener last heard that the connection is there */
  let isThere = true
  const hooks: ReadHooks = {
    onOpen() {
      since = performance.now()
      isThere = true
      if (again) options.onReconnect?.()
    },
    // Also signs of life: a task may have nothing to tell for hours
    onBytes() {
      failures = 0
    },
  }
  for (;;) {
    let waits = false
    try {
      for await (const event of readOnce(client, path, last, signal, hooks)) {
        if (event.id !== undefined) last = event.id
        yield decodeText(shape, event.data, 'an event')
      }
    } catch (error) {
      if (signal.aborted) throw signal.reason
      if (!(again && isGone(error)) && !mayResume(client, error)) throw error
      waits = instead !== undefined && isOverloaded(error)
      if (!waits && failures > 0 && performance.now() - since > reconnectMs) throw error
      const event = waits ? await instead?.() : undefined
      if (event !== undefined) yield event
      if (waits) since = performance.now()
    }
    if (isThere && !waits) {
      isThere = false
      options.onLost?.()
    }
    if (failures++ === 0) since = performance.now()
    again = true
    await delay(backoffMs(failures, 5000), signal)
  }
}

interface ReadHooks {
  onOpen(): void
  onBytes(): void
}

/** One connection, until it ends. Silence longer than the limit ends it too. */
async function* readOnce(
  client: Client,
  path: string,
  last: string | undefined,
  signal: AbortSignal,
  hooks: ReadHooks,
): AsyncGenerator<ServerEvent> {
  const silence = new AbortController()
  const arm = () =>
    setTimeout(() => {
      silence.abort(
        new ManyhandsError('E_UNREACHABLE', `No event or heartbeat for ${LIMITS.streamSilenceMs} ms`, {
          hint: 'See whether the daemon still runs: manyhands status',
        }),
      )
    }, LIMITS.streamSilenceMs)
  let timer = arm()
  try {
    const answer = await client.openStream(path, last, AbortSignal.any([signal, silence.signal]))
    try {
      hooks.onOpen()
    } catch (error) {
      answer.leave()
      throw error
    }
    const parser = new SseParser(LIMITS.eventBytes)
    for await (const bytes of answer.body) {
      clearTimeout(timer)
      hooks.onBytes()
      for (const event of parser.feed(bytes)) {
        if (event.name === 'problem' || event.name === 'error')
          throw problemError(decodeText(problem, event.data, 'a problem'))
        yield event
      }
      timer = arm()
    }
  } finally {
    clearTimeout(timer)
  }
}

/** A daemon that is gone, restarting, or dropped a reader that fell behind. */
function mayResume(client: Client, error: unknown): boolean {
  return isOverloaded(error) || client.mayReturn(error)
}

function isOverloaded(error: unknown): boolean {
  return error instanceof ManyhandsError && (error.code === 'E_OVERLOADED' || error.code === 'E_RATE_LIMITED')
}

function isGone(error: unknown): boolean {
  return error instanceof ManyhandsError && error.code === 'E_NOT_RUNNING'
}
