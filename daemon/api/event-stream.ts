/**
 * Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html. Each event has an id, so a client that lost the connection goes on
 * where it was. A client that does not read is told E_OVERLOADED and dropped: what it has not taken is bounded, and it may resume.
 */
import type { ServerResponse } from 'node:http'
import { MeshError, toMeshError } from '../../protocol/errors.ts'
import { toProblem } from './problem.ts'
import { startEvents } from './respond.ts'
import type { EventSource } from './route.ts'

/** Bytes a client may leave unread */
const QUEUE_BYTES = 4 << 20

export interface EventStreamHandle {
  /** Ends it with a problem event. */
  end(error: MeshError): void
}

/** Writes until the source's last event, `end`, or the client's going; then calls `onClosed` once. */
export function streamEvents(
  response: ServerResponse,
  source: EventSource<unknown>,
  heartbeatMs: number,
  onClosed: () => void,
): EventStreamHandle {
  if (response.closed) {
    onClosed()
    return { end: () => undefined }
  }
  let stop: (() => void) | undefined
  let over = false
  const close = (): void => {
    if (over) return
    over = true
    clearInterval(heart)
    stop?.()
    onClosed()
  }
  const finish = (last?: string): void => {
    if (over) return
    close()
    response.end(last)
    // A client that reads no more must not hold the connection
    const timer = setTimeout(() => response.destroy(), 5_000)
    timer.unref()
    response.once('close', () => clearTimeout(timer))
  }
  const end = (error: MeshError): void => finish(eventText(undefined, 'problem', toProblem(error)))
  const heart = setInterval(() => void response.write(':\n\n'), heartbeatMs)
  heart.unref()
  response.once('close', close)
  startEvents(response)
  const unwatch = source.watch((id, event) => {
    if (over) return
    if (response.writableLength > QUEUE_BYTES)
      return end(
        new MeshError('E_OVERLOADED', 'Cannot send more events: those before are not read', { retryAfterMs: 1_000 }),
      )
    response.write(eventText(id, typeOf(event), event))
    if (source.isLast(event)) finish()
  })
  // `watch` may have ended the stream before there was a way to stop it
  if (over) unwatch()
  else stop = unwatch
  if (!over) source.broken?.().catch((error: unknown) => end(toMeshError(error)))
  return { end }
}

/** JSON has no raw newline, so one data line is enough. */
function eventText(id: string | undefined, type: string, data: unknown): string {
  return `${id === undefined ? '' : `id: ${id}\n`}event: ${type}\ndata: ${JSON.stringify(data)}\n\n`
}

function typeOf(event: unknown): string {
  return typeof event === 'object' && event !== null && 'type' in event && typeof event.type === 'string'
    ? event.type
    : 'message'
}
