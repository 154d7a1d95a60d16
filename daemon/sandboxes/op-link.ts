/**
 * The asker of an op, as whoever runs the op sees it: a client of the local API, a peer, or this daemon itself. Data flows both ways with backpressure;
 * the op's answer is what running it resolves with, so a link carries none.
 */
import type { BoxControl } from '../../protocol/api-sandboxes.ts'
import { MeshError } from '../../protocol/errors.ts'
import type { OpReply, SandboxOp } from '../../protocol/sandbox/op.ts'

/** What comes from the asker. */
export interface OpSink {
  /** A returned promise holds the asker back until it settles; `bytes` are valid until then. */
  data(bytes: Uint8Array): void | Promise<void>
  /** No more data comes. */
  finish(): void
  control(control: BoxControl): void
}

export interface OpLink {
  /** Lane 1 is content and standard output, 2 standard error. Resolves when there is room for more. @throws the signal's reason once the asker is gone */
  send(lane: 1 | 2, bytes: Uint8Array): Promise<void>
  /** No more data comes from here; what comes from the asker goes on. */
  finish(): void
  /** Call at most once; what came before is delivered then, and held back until. */
  receive(sink: OpSink): void
  /** Aborts when the asker cancels or is gone */
  readonly signal: AbortSignal
}

/** A place where ops run: this node's executor for one owner, or a peer. */
export interface OpPlace {
  /** @throws MeshError */
  run(op: SandboxOp, link: OpLink): Promise<OpReply>
}

/** An asker that sends nothing and wants nothing but the answer. */
export function quietLink(signal: AbortSignal): OpLink {
  return { send: async () => undefined, finish: () => undefined, receive: () => undefined, signal }
}

/** How long this daemon waits for an op that it asks on its own behalf, milliseconds. */
export const OWN_OP_MS = 30_000

/** Runs an op that no client waits for, so that nobody else would end it. @throws MeshError E_TIMEOUT, and what the op throws */
export async function runOwn(place: OpPlace, op: SandboxOp, withinMs: number = OWN_OP_MS): Promise<OpReply> {
  const late = new AbortController()
  const timer = setTimeout(
    () =>
      late.abort(
        new MeshError('E_TIMEOUT', `The node of the sandbox did not answer within ${withinMs} ms`, {
          hint: 'Try again once the node is back; `manyhands peers` shows whether it is',
        }),
      ),
    withinMs,
  )
  try {
    return await place.run(op, quietLink(late.signal))
  } finally {
    clearTimeout(timer)
  }
}

interface LinkPipe {
  readonly giver: OpLink
  readonly taker: OpLink
  end(): void
  /** One of the two failed: the other would wait for it for ever. */
  fail(error: unknown): void
}

/** Joins what an op gives to what another op takes, a piece at a time: the taker's link receives what is sent on the giver's. */
export function pipeLinks(asker: AbortSignal): LinkPipe {
  const taking = Promise.withResolvers<OpSink>()
  const failed = new AbortController()
  const signal = AbortSignal.any([asker, failed.signal])
  let over = false
  const end = (): void => {
    if (over) return
    over = true
    void taking.promise.then((sink) => sink.finish())
  }
  const aborted = Promise.withResolvers<never>()
  aborted.promise.catch(() => undefined)
  signal.addEventListener('abort', () => aborted.reject(signal.reason), { once: true })
  return {
    giver: {
      send: async (_lane, bytes) => {
        signal.throwIfAborted()
        const sink = await Promise.race([taking.promise, aborted.promise])
        await Promise.race([sink.data(bytes), aborted.promise])
      },
      finish: () => undefined,
      receive: () => undefined,
      signal,
    },
    taker: { send: async () => undefined, finish: () => undefined, receive: (sink) => taking.resolve(sink), signal },
    end,
    fail: (error) => failed.abort(error),
  }
}
