/** The body of a request as chunks: unpacked, bounded, and from a client that keeps sending. */
import type { IncomingMessage } from 'node:http'
import { pipeline, type Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { MeshError } from '../../../protocol/errors.ts'
import type { DoorLimits } from './limits.ts'

export type BodyLimits = Pick<DoorLimits, 'stallMs' | 'stallBytes'> & {
  /** Most bytes, after unpacking */
  readonly bytes: number
}

/** Whether the client says beforehand that it sends more than `bytes`. */
export function isAnnouncedAbove(request: IncomingMessage, bytes: number): boolean {
  return Number(request.headers['content-length'] ?? 0) > bytes
}

/** Whether it says beforehand that it sends no more than that. */
export function isAnnouncedWithin(request: IncomingMessage, bytes: number): boolean {
  const { 'content-length': length, 'content-encoding': encoding } = request.headers
  return length !== undefined && encoding === undefined && Number(length) <= bytes
}

/**
 * @throws MeshError E_MEDIA_TYPE for an unknown encoding, E_TOO_LARGE beyond the limit, E_SLOW, E_BAD_REQUEST when it does not unpack or is cut
 */
export async function* bodyChunks(request: IncomingMessage, limits: BodyLimits): AsyncGenerator<Buffer, void> {
  const source: AsyncIterator<unknown, unknown> = unpacked(request)[Symbol.asyncIterator]()
  let total = 0
  const pace = { waitedMs: 0, bytes: 0 }
  for (;;) {
    const began = performance.now()
    const { done, value } = await inTime(source.next(), limits.stallMs, request)
    if (done === true) return
    if (!Buffer.isBuffer(value)) throw cut()
    total += value.length
    if (total > limits.bytes)
      throw new MeshError('E_TOO_LARGE', `Cannot take the request: its body is larger than ${limits.bytes} bytes`)
    pace.waitedMs += performance.now() - began
    pace.bytes += value.length
    if (pace.waitedMs > limits.stallMs) {
      if (pace.bytes < limits.stallBytes) throw slow()
      pace.waitedMs = 0
      pace.bytes = 0
    }
    yield value
  }
}

/** The whole of it. @throws MeshError as {@link bodyChunks} */
export async function wholeBody(request: IncomingMessage, limits: BodyLimits): Promise<Buffer> {
  if (isAnnouncedAbove(request, limits.bytes))
    throw new MeshError('E_TOO_LARGE', `Cannot take the request: its body is larger than ${limits.bytes} bytes`)
  const chunks: Buffer[] = []
  for await (const chunk of bodyChunks(request, limits)) chunks.push(chunk)
  return Buffer.concat(chunks)
}

function unpacked(request: IncomingMessage): Readable {
  const encoding = request.headers['content-encoding'] ?? 'identity'
  if (encoding === 'identity') return request
  if (encoding !== 'gzip' && encoding !== 'x-gzip')
    throw new MeshError('E_MEDIA_TYPE', 'Cannot take the request: a body is sent plain or as gzip')
  // Its errors come out where the unpacked side is read
  return pipeline(request, createGunzip(), () => {})
}

async function inTime<T>(next: Promise<T>, ms: number, request: IncomingMessage): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(slow()), ms)
  })
  try {
    return await Promise.race([next, late])
  } catch (error) {
    next.catch(() => {})
    throw error instanceof MeshError ? error : request.headers['content-encoding'] === undefined ? cut() : packed()
  } finally {
    clearTimeout(timer)
  }
}

function slow(): MeshError {
  return new MeshError('E_SLOW', 'Cannot take the request: its body came too slowly')
}

function cut(): MeshError {
  return new MeshError('E_BAD_REQUEST', 'Cannot take the request: its body is cut')
}

function packed(): MeshError {
  return new MeshError('E_BAD_REQUEST', 'Cannot take the request: its body is cut or no gzip')
}
