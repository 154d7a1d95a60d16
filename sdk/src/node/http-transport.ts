/** Requests over a unix socket or TCP, on a small pool of proven connections. */
import type { Socket } from 'node:net'
import { Budget } from '../budget.ts'
import { closedError } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import type { Transport, WireAnswer, WireRequest } from '../transport.ts'
import { type Endpoint, Lane } from './lane.ts'

export interface NodeTransport extends Transport {
  /** A raw connection speaking `protocol`, or the answer that refuses it. The caller owns the socket. */
  upgrade(path: string, protocol: string, signal: AbortSignal): Promise<{ socket: Socket; head: Buffer } | WireAnswer>
}

export function httpTransport(endpoint: Endpoint, token: string): NodeTransport {
  const budgets = {
    short: new Budget(LIMITS.shortRequests, LIMITS.queuedRequests),
    wait: new Budget(LIMITS.waitingRequests, LIMITS.queuedRequests),
    stream: new Budget(LIMITS.streams, 0),
  }
  const all = new Set<Lane>()
  const idle: Lane[] = []
  let closed = false

  const open = async (signal: AbortSignal): Promise<Lane> => {
    const lane = await Lane.open(endpoint, token, signal)
    if (closed) {
      lane.close()
      throw closedError()
    }
    all.add(lane)
    lane.onClose(() => {
      all.delete(lane)
      const at = idle.indexOf(lane)
      if (at >= 0) idle.splice(at, 1)
    })
    return lane
  }

  const take = (signal: AbortSignal, fresh: boolean): Lane | Promise<Lane> => {
    while (!fresh) {
      const lane = idle.pop()
      if (!lane) break
      if (lane.alive) return lane
      lane.close()
    }
    return open(signal)
  }

  const putBack = (lane: Lane): void => {
    if (!closed && lane.alive && idle.length < LIMITS.idleConnections) idle.push(lane)
    else lane.close()
  }

  /** The lane comes back once its answer was read to the end, and closes when the reader leaves early. */
  async function* lending(
    lane: Lane,
    body: AsyncIterable<Uint8Array>,
    release: () => void,
  ): AsyncGenerator<Uint8Array> {
    let whole = false
    try {
      yield* body
      whole = true
    } finally {
      if (whole) putBack(lane)
      else lane.close()
      release()
    }
  }

  const leaving = (lane: Lane, release: () => void) => (): void => {
    lane.close()
    release()
  }

  return {
    async request(request: WireRequest): Promise<WireAnswer> {
      if (closed) throw closedError()
      const release = await budgets[request.budget].take(request.signal)
      let lane: Lane | undefined
      try {
        lane = await take(request.signal, request.fresh === true)
        const answer = await lane.request(request)
        const { status, header } = answer
        return { status, header, body: lending(lane, answer.body, release), leave: leaving(lane, release) }
      } catch (error) {
        lane?.close()
        release()
        throw error
      }
    },
    async upgrade(path, protocol, signal) {
      if (closed) throw closedError()
      const lane = await open(signal)
      try {
        const result = await lane.upgrade(path, protocol, signal)
        if ('socket' in result) all.delete(lane)
        return result
      } catch (error) {
        lane.close()
        throw error
      }
    },
    async close() {
      closed = true
      for (const lane of all) lane.close()
      idle.length = 0
    },
  }
}
