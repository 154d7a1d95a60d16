/** Tasks whose caller may stop waiting before their id is known here. */
import type { TaskView } from '../../protocol/api.ts'
import type { Client } from './client.ts'
import { LIMITS } from './limits.ts'
import { delay, unlessAborted } from './wait.ts'

/**
 * The task that `submitting` makes. A submission under way is not ended by `signal`, since the daemon may have taken the task already: it is waited for, and
 * the task canceled. @throws what `submitting` rejects with, or the signal's reason
 */
export async function submitted(
  client: Client,
  submitting: Promise<TaskView>,
  signal: AbortSignal | undefined,
): Promise<TaskView> {
  try {
    return await unlessAborted(submitting, signal)
  } catch (error) {
    if (signal?.aborted)
      await soon(
        client,
        submitting.then(({ id }) => cancelTask(client, id)),
      )
    throw error
  }
}

/** Waits for what ends a task, whose caller has turned away: not for long, and whatever its outcome. It goes on. */
export async function soon(client: Client, ending: Promise<unknown>): Promise<void> {
  const enough = new AbortController()
  const limit = delay(LIMITS.cancelMs, AbortSignal.any([client.signal, enough.signal])).catch(() => undefined)
  await Promise.race([ending.catch(() => undefined), limit])
  enough.abort()
}

export function cancelTask(client: Client, id: string, signal?: AbortSignal): Promise<TaskView> {
  return client.call('POST /v0/tasks/:id/cancel', { params: { id }, body: {}, signal })
}
