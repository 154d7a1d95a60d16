/** Writing with backpressure to someone who may stop reading. */
import type { Writable } from 'node:stream'
import { MeshError } from '../../../protocol/errors.ts'

/**
 * Resolves when more may be written.
 * @throws MeshError E_SLOW when what was written is not taken within `ms`, E_CALLER_GONE when the other side is closed
 */
export function write(sink: Writable, chunk: Buffer, ms: number): Promise<void> {
  if (sink.destroyed || sink.writableEnded) return Promise.reject(gone())
  if (sink.write(chunk)) return Promise.resolve()
  return new Promise((resolve, reject) => {
    const end = (error?: MeshError): void => {
      clearTimeout(timer)
      sink.off('drain', onDrain).off('close', onClose)
      if (error === undefined) resolve()
      else reject(error)
    }
    const onDrain = (): void => end()
    const onClose = (): void => end(gone())
    const timer = setTimeout(() => end(new MeshError('E_SLOW', 'Cannot serve it: the client does not read')), ms)
    sink.on('drain', onDrain).on('close', onClose)
  })
}

function gone(): MeshError {
  return new MeshError('E_CALLER_GONE', 'Cannot serve it: the client went away')
}
