/** Git LFS (git-lfs docs/api): the batch API, transfer `basic`, verification. Locks are not offered, which clients take for an answer. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { MeshError } from '../../../protocol/errors.ts'
import { type LfsBatch, type LfsObject, readLfsBatch, readLfsObject } from '../../../protocol/artifact/lfs-batch.ts'
import type { ArtifactView } from '../store/artifact-store.ts'
import { bodyChunks, wholeBody } from './body.ts'
import { write } from './flow.ts'
import type { LfsStore } from './lfs-store.ts'
import { type DoorLimits, FIXED } from './limits.ts'

export interface LfsParts {
  readonly files: LfsStore
  readonly limits: DoorLimits
}

const TYPE = 'application/vnd.git-lfs+json'

/** @param repository its URL as the client has it, without a final slash. @param admit throws unless the caller may do what the batch is for. @throws MeshError */
export async function serveBatch(
  { files, limits }: LfsParts,
  repository: string,
  request: IncomingMessage,
  response: ServerResponse,
  admit: (wanted: 'read' | 'write') => ArtifactView,
): Promise<void> {
  admit('read')
  const body = await wholeBody(request, { ...limits, bytes: FIXED.lfsBatchBytes })
  const batch = readLfsBatch(body.toString('utf8'))
  if (
    batch === undefined ||
    (batch.hash_algo ?? 'sha256') !== 'sha256' ||
    !(batch.transfers ?? ['basic']).includes('basic')
  )
    throw new MeshError(
      'E_BAD_REQUEST',
      'Cannot serve the files: the request is no LFS batch, or asks for another transfer than "basic"',
    )
  const view = admit(batch.operation === 'upload' ? 'write' : 'read')
  const base = `${repository}/info/lfs/objects`
  const objects = batch.objects.map((object) => answerTo(files, view, batch, object, base))
  // A client does not send again what is here: until its push names it, it must not be collected
  if (batch.operation === 'upload')
    for (const { oid } of batch.objects) if (files.size(view.id, oid) !== undefined) await files.touch(view.id, oid)
  sendJson(response, 200, { transfer: 'basic', objects, hash_algo: 'sha256' })
}

function answerTo(
  files: LfsStore,
  view: ArtifactView,
  { operation }: LfsBatch,
  { oid, size }: LfsObject,
  base: string,
): unknown {
  const held = files.size(view.id, oid)
  // Nothing of the caller's token: the client sends it itself, and one that has it in its settings would send it twice
  const action = { href: `${base}/${oid}` }
  if (operation === 'download') {
    if (held === undefined) return { oid, size, error: { code: 404, message: 'The file is not on this node' } }
    return { oid, size: held, actions: { download: action } }
  }
  if (held !== undefined) return { oid, size: held }
  const refusal = files.refusal(view.id, size)
  if (refusal !== undefined) return { oid, size, error: { code: 413, message: refusal.message } }
  return { oid, size, actions: { upload: action, verify: { href: `${base}/${oid}/verify` } } }
}

/** @throws MeshError */
export async function receiveFile(
  { files, limits }: LfsParts,
  view: ArtifactView,
  oid: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const announced = request.headers['content-length']
  // A client that does not say how much is bounded by what there is room for
  if (announced === undefined) throw new MeshError('E_BAD_REQUEST', 'Cannot take the file: its length is not announced')
  const size = Number(announced)
  const chunks = bodyChunks(request, { ...limits, bytes: size })
  if (files.size(view.id, oid) === undefined) await files.put(view.id, oid, size, chunks)
  else for await (const chunk of chunks) void chunk
  response.statusCode = 200
  response.end()
}

/** @throws MeshError E_NOT_FOUND, E_STORAGE, E_SLOW, E_CALLER_GONE */
export async function sendFile(
  { files, limits }: LfsParts,
  view: ArtifactView,
  oid: string,
  response: ServerResponse,
): Promise<void> {
  const { size, chunks } = await files.read(view.id, oid)
  response.setHeader('content-type', 'application/octet-stream')
  response.setHeader('content-length', size)
  for await (const chunk of chunks) await write(response, chunk, limits.stallMs)
  response.end()
}

/** @throws MeshError E_NOT_FOUND, E_BAD_REQUEST */
export async function verifyFile(
  { files, limits }: LfsParts,
  view: ArtifactView,
  oid: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const body = await wholeBody(request, { ...limits, bytes: FIXED.lfsBatchBytes })
  const claimed = readLfsObject(body.toString('utf8'))
  if (claimed === undefined || claimed.oid !== oid)
    throw new MeshError('E_BAD_REQUEST', 'Cannot confirm the file: the request does not name it')
  if (files.size(view.id, oid) !== claimed.size)
    throw new MeshError('E_NOT_FOUND', 'Cannot confirm the file: it is not here in that size')
  sendJson(response, 200, {})
}

export function sendLfsError(response: ServerResponse, status: number, message: string): void {
  sendJson(response, status, { message })
}

function sendJson(response: ServerResponse, status: number, value: unknown): void {
  response.statusCode = status
  response.setHeader('content-type', TYPE)
  response.end(JSON.stringify(value))
}
