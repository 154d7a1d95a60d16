/** Reads the body of a request: JSON only, bounded while it arrives, checked before it is parsed. How long it may take is the listener's limit. */
import type { IncomingMessage } from 'node:http'
import { MeshError } from '../../protocol/errors.ts'
import { parseJsonText } from '../../protocol/json-text.ts'

/** @throws MeshError E_MEDIA_TYPE, E_TOO_LARGE, E_BAD_REQUEST */
export async function readJsonBody(request: IncomingMessage, maxBytes: number): Promise<unknown> {
  refuseOtherTypes(request)
  const announced = Number(request.headers['content-length'] ?? 0)
  if (announced > maxBytes) throw tooLarge(maxBytes)
  const bytes = await collect(request, maxBytes)
  if (bytes.length === 0)
    throw new MeshError('E_BAD_REQUEST', 'Cannot read the request body: it is empty', {
      hint: 'Send a JSON object, {} at least',
    })
  return parseJsonText(bytes, 'the request body')
}

/** @throws MeshError E_BAD_REQUEST */
export function refuseBody(request: IncomingMessage): void {
  const { 'content-length': length, 'transfer-encoding': encoding } = request.headers
  if (encoding !== undefined || (length !== undefined && length !== '0'))
    throw new MeshError('E_BAD_REQUEST', 'Cannot serve the request: this route takes no body')
}

/** Forms of a web page cannot send this type without asking first, and the asking is never answered. */
function refuseOtherTypes(request: IncomingMessage): void {
  const type = request.headers['content-type'] ?? ''
  const encoding = request.headers['content-encoding'] ?? 'identity'
  if (!/^application\/json\s*(?:;\s*charset=(?:utf-8|"utf-8")\s*)?$/i.test(type))
    throw new MeshError('E_MEDIA_TYPE', 'Cannot read the request body: "content-type: application/json" is wanted', {
      details: { received: type.slice(0, 100) },
    })
  if (encoding !== 'identity')
    throw new MeshError('E_MEDIA_TYPE', 'Cannot read the request body: it must not be compressed')
}

function collect(request: IncomingMessage, maxBytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = []
    let size = 0
    const fail = (error: MeshError): void => {
      request.off('data', onData)
      reject(error)
    }
    const onData = (part: Buffer): void => {
      size += part.length
      if (size > maxBytes) return fail(tooLarge(maxBytes))
      parts.push(part)
    }
    request.on('data', onData)
    request.once('end', () => resolve(parts.length === 1 && parts[0] ? parts[0] : Buffer.concat(parts, size)))
    request.once('error', () => fail(cutOff()))
    request.once('close', () => fail(cutOff()))
  })
}

function tooLarge(maxBytes: number): MeshError {
  return new MeshError('E_TOO_LARGE', `Cannot read the request body: at most ${maxBytes} bytes are allowed here`, {
    hint: 'Send less at once: split a map, or give large data as files of an artifact or a sandbox',
    details: { maxBytes },
  })
}

function cutOff(): MeshError {
  return new MeshError('E_BAD_REQUEST', 'Cannot read the request body: the connection ended before it did')
}
