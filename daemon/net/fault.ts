import { isErrorCode, MeshError, toMeshError } from '../../protocol/errors.ts'
import type { manyhands } from '../../proto/gen/wire.js'

/** A sentence from a peer is for people: more than this is noise. Characters. */
const MESSAGE_CHARS = 1000

/** What the other side may know of a failure: its code and sentence when it is typed, nothing else. */
export function toFault(error: unknown): manyhands.Fault.$Properties {
  const { code, message, retryAfterMs } = toMeshError(error)
  const fault = { code, message: message.slice(0, MESSAGE_CHARS) }
  return retryAfterMs === undefined ? fault : { ...fault, retryAfterMs: Math.max(0, Math.ceil(retryAfterMs)) }
}

/** The error a peer's fault stands for. Its text is cut and freed of control characters; an unknown code is E_INTERNAL. */
export function fromFault(fault: manyhands.Fault.$Properties): MeshError {
  const code = isErrorCode(fault.code) ? fault.code : 'E_INTERNAL'
  const text = (fault.message ?? '').slice(0, MESSAGE_CHARS).replace(/\p{Cc}+/gu, ' ')
  const retryAfterMs = fault.retryAfterMs ?? 0
  return new MeshError(
    code,
    text === '' ? 'A peer refused without a reason' : text,
    retryAfterMs > 0 ? { retryAfterMs } : {},
  )
}
