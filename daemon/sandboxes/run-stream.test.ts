import { expect, it } from 'vitest'
import { MeshError } from '../../protocol/errors.ts'
import type { ByteDuplex } from '../exec/sandbox/guest/guest-connection.ts'
import { waitPort } from './run-stream.ts'

/** A server that takes no connections: whoever connects waits until he leaves. */
const full = {
  dial: (_port: number, { signal }: { readonly signal?: AbortSignal } = {}) =>
    new Promise<ByteDuplex>((_resolve, reject) => {
      const left = (): void => reject(new MeshError('E_CANCELED', 'The connection was not waited for'))
      if (signal?.aborted) left()
      signal?.addEventListener('abort', left, { once: true })
    }),
}

it('waiting for a port ends in its time, also where a connection neither comes about nor fails', async () => {
  const op = { op: 'wait-port' as const, sandbox: 'box', port: 80 }
  await expect(waitPort(full, { ...op, timeoutMs: 20 }, new AbortController().signal)).rejects.toMatchObject({
    code: 'E_TIMEOUT',
  })
  const canceled = new AbortController()
  const waiting = waitPort(full, { ...op, timeoutMs: 60_000 }, canceled.signal)
  canceled.abort(new MeshError('E_CALLER_GONE', 'The client went away'))
  await expect(waiting).rejects.toMatchObject({ code: 'E_CALLER_GONE' })
})
