/**
 * A tunnel between two nodes: one stream of the protocol `/manyhands/tunnel/1`. The side that opens it sends an opening, [u32 BE length][JSON], that names a lent door or
 * a service; the other answers in the same form; from then on bytes flow both ways, each way with backpressure and an end of its own.
 *
 *   { "kind": "door", "ticket": "<43 characters>" }
 *   { "kind": "service", "name": "pg", "subject": { "agent": "report" } }
 *   -> { "ok": true }  or  { "status": 403, "reason": "no-grant", "message": "..." }
 */
import type { Socket } from 'node:net'
import * as z from 'zod'
import { EGRESS_LIMITS } from '../../protocol/egress/limits.ts'
import { EgressName, EgressSubject } from '../../protocol/egress/rule.ts'
import { MeshError } from '../../protocol/errors.ts'
import type { ByteStream, MeshNet } from '../net/mesh-net.ts'
import { openingFrame, parseOpening } from './frame.ts'

export const TUNNEL_PROTOCOL = '/manyhands/tunnel/1'

export const TunnelOpening = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('door'), ticket: z.string().min(1).max(64) }),
  z.object({ kind: z.literal('service'), name: EgressName, subject: EgressSubject }),
])
export type TunnelOpening = z.infer<typeof TunnelOpening>

export const TunnelAnswer = z.union([
  z.object({ ok: z.literal(true) }),
  z.object({ status: z.number().int().min(400).max(599), reason: z.string().max(64), message: z.string().max(1024) }),
])
export type TunnelAnswer = z.infer<typeof TunnelAnswer>

/** A stream after its opening. `rest` is what comes, in order. */
export interface OpenStream {
  readonly stream: ByteStream
  readonly rest: AsyncIterator<Uint8Array>
}

/** What the tunnel's other end says no with. */
export class TunnelRefused extends Error {
  override readonly name = 'TunnelRefused'
  readonly status: number
  readonly reason: string

  constructor({ status, reason, message }: Exclude<TunnelAnswer, { ok: true }>) {
    super(message)
    this.status = status
    this.reason = reason
  }
}

/** @throws TunnelRefused as the peer answers; MeshError E_UNREACHABLE, E_TIMEOUT, E_PROTOCOL */
export async function openTunnel(net: MeshNet, peer: string, opening: TunnelOpening): Promise<OpenStream> {
  const signal = AbortSignal.timeout(EGRESS_LIMITS.dialMs)
  const stream = await net.openStream(peer, TUNNEL_PROTOCOL, signal)
  try {
    await stream.write(openingFrame(opening), signal)
    const { message, rest } = await readOpeningFrom(stream, EGRESS_LIMITS.dialMs + EGRESS_LIMITS.handshakeMs)
    const answer = TunnelAnswer.safeParse(message)
    if (!answer.success) throw new MeshError('E_PROTOCOL', 'A peer answered a tunnel with something else')
    if (!('ok' in answer.data)) throw new TunnelRefused(answer.data)
    return { stream, rest }
  } catch (error) {
    stream.abort(error instanceof Error ? error : new Error('tunnel failed'))
    throw error
  }
}

/** The first frame, and an iterator of what follows. @throws MeshError E_PROTOCOL, E_TIMEOUT */
export async function readOpeningFrom(
  stream: ByteStream,
  withinMs: number,
): Promise<{ message: unknown; rest: AsyncIterator<Uint8Array> }> {
  const late = new MeshError('E_TIMEOUT', 'No opening of a tunnel came in time')
  let isLate = false
  const timer = setTimeout(() => {
    isLate = true
    stream.abort(late)
  }, withinMs)
  const chunks = stream.chunks()[Symbol.asyncIterator]()
  let bytes = Buffer.alloc(0)
  try {
    for (;;) {
      const next: IteratorResult<Uint8Array, unknown> = await chunks.next()
      if (next.done === true) throw new MeshError('E_PROTOCOL', 'A tunnel ended before its opening')
      bytes = Buffer.concat([bytes, next.value])
      const opening = parseOpening(bytes)
      if (opening !== undefined)
        return { message: opening.message, rest: startingWith(bytes.subarray(opening.end), chunks) }
    }
  } catch (error) {
    if (isLate) throw late
    throw error instanceof MeshError
      ? error
      : new MeshError('E_PROTOCOL', 'A tunnel began with something else', { cause: error })
  } finally {
    clearTimeout(timer)
  }
}

function startingWith(first: Buffer, rest: AsyncIterator<Uint8Array>): AsyncIterator<Uint8Array> {
  let given = first.length === 0
  return {
    next: () => {
      if (given) return rest.next()
      given = true
      return Promise.resolve({ done: false, value: first })
    },
    return: async () => (await rest.return?.()) ?? { done: true, value: undefined },
  }
}

/** Copies both ways until both ended; what breaks one breaks the other. Never rejects. */
export async function joinTunnel({ stream, rest }: OpenStream, socket: Socket, signal: AbortSignal): Promise<void> {
  socket.on('error', () => undefined)
  const broken = new MeshError('E_UNREACHABLE', 'The tunnel was cut')
  const cut = () => {
    stream.abort(broken)
    socket.destroy()
  }
  if (signal.aborted) cut()
  signal.addEventListener('abort', cut, { once: true })
  let inward = true
  socket.once('close', () => {
    if (inward) cut()
  })
  const receive = async () => {
    await fromStream(rest, socket)
    inward = false
  }
  try {
    await Promise.all([receive(), fromSocket(socket, stream)])
  } catch {
    cut()
  } finally {
    signal.removeEventListener('abort', cut)
    socket.destroySoon()
  }
}

async function fromStream(rest: AsyncIterator<Uint8Array>, socket: Socket): Promise<void> {
  for (;;) {
    const next: IteratorResult<Uint8Array, unknown> = await rest.next()
    if (next.done === true) break
    if (!socket.write(next.value)) await room(socket)
  }
  socket.end()
}

/** @throws Error when it closes first */
export function room(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    if (socket.destroyed) {
      reject(new Error('closed'))
      return
    }
    const off = () => socket.off('drain', onDrain).off('close', onClose)
    const onDrain = () => {
      off()
      resolve()
    }
    const onClose = () => {
      off()
      reject(new Error('closed'))
    }
    socket.on('drain', onDrain).on('close', onClose)
  })
}

async function fromSocket(socket: Socket, stream: ByteStream): Promise<void> {
  // Leaving the loop must not destroy the socket: its other direction may go on
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) await stream.write(chunk as Uint8Array)
  if (!socket.readableEnded) throw new Error('closed')
  await stream.end()
}
