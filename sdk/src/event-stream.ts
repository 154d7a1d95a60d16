/** Events of the daemon as an async iterable that resumes where it was when the connection is lost. Pulled: a slow reader slows the sender. */
import type { Client } from './client.ts'
import { ManyhandsError, problemError } from './errors.ts'
import { LIMITS } from './limits.ts'
import { problem } from './replies.ts'
import { decodeText, type Shape } from './shape.ts'
import { type ServerEvent, SseParser } from './sse.ts'
import { backoffMs, delay, isLost } from './wait.ts'

export interface EventOptions {
  /** Ends the iteration by throwing its reason. @default none: until the loop is left */
  readonly signal?: AbortSignal
  /** How long to try again after the daemon went away, milliseconds. @default 15,000 */
  readonly reconnectMs?: number
  /** Told when the connection was lost, once until it is there again */
  readonly onLost?: () => void
  /** Told when the stream was opened again; events between may have been missed only if the daemon forgot them */
  readonly onReconnect?: () => void
}

/** Never ends by itself. @throws ManyhandsError */
export async function* eventStream<T>(
  client: Client,
  path: string,
  shape: Shape<T>,
  options: EventOptions = {},
): AsyncGenerator<T> {
  const signal = options.signal ?? client.signal
  const reconnectMs = options.reconnectMs ?? LIMITS.reconnectMs
  let last: string | undefined
  let opened = false
  let failures = 0
  let since = 0
  let isThere = true
  const onOpen = (): void => {
    isThere = true
    if (opened) options.onReconnect?.()
  }
  for (;;) {
    try {
      for await (const event of readOnce(client, path, last, signal, onOpen)) {
        opened = true
        failures = 0
        if (event.id !== undefined) last = event.id
        yield decodeText(shape, event.data, 'an event')
      }
    } catch (error) {
      if (signal.aborted) throw signal.reason
      if (!mayResume(error, opened || failures > 0)) throw error
      if (failures > 0 && performance.now() - since > reconnectMs) throw error
    }
    if (isThere) options.onLost?.()
    isThere = false
    if (failures++ === 0) since = performance.now()
    opened = true
    await delay(backoffMs(failures, 5000), signal)
  }
}

/** One connection, until it ends. Silence longer than the limit ends it too. */
async function* readOnce(
  client: Client,
  path: string,
  last: string | undefined,
  signal: AbortSignal,
  onOpen: () => void,
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
    onOpen()
    const parser = new SseParser(LIMITS.eventBytes)
    for await (const bytes of answer.body) {
      clearTimeout(timer)
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
function mayResume(error: unknown, opened: boolean): boolean {
  if (isLost(error)) return true
  if (!(error instanceof ManyhandsError)) return false
  return error.code === 'E_OVERLOADED' || error.code === 'E_RATE_LIMITED' || (opened && error.code === 'E_NOT_RUNNING')
}
