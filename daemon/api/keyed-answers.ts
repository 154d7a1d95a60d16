/**
 * Answers to requests that came with an idempotency key, for routes whose work keeps no keys of its own: who did not hear the answer asks again and hears it, and nothing
 * is done twice. Of this run of the daemon; what failed may be tried again.
 */
import { createHash } from 'node:crypto'
import { MeshError } from '../../protocol/errors.ts'
import type { TaskCaller } from '../tasks/tasks.ts'

interface Kept {
  /** Digest */
  readonly request: string
  readonly answer: Promise<unknown>
}

const MAX_KEPT = 1_000

export class KeyedAnswers {
  /** By subject and key, oldest first */
  readonly #kept = new Map<string, Kept>()

  /** @throws MeshError E_KEY_REUSED when the key belongs to another request; what `make` throws */
  once({ subject, key }: TaskCaller, request: unknown, make: () => unknown): Promise<unknown> {
    if (key === undefined) return Promise.resolve().then(make)
    const name = `${subject.length}:${subject}${key}`
    const digest = createHash('sha256').update(JSON.stringify(request)).digest('hex')
    const known = this.#kept.get(name)
    if (known?.request === digest) return known.answer
    if (known !== undefined)
      throw new MeshError(
        'E_KEY_REUSED',
        `Cannot use the idempotency key "${key}": it belongs to a different request`,
        {
          hint: 'Use a new key for a new request; repeat a request unchanged to get its answer again',
        },
      )
    const answer = Promise.resolve().then(make)
    const kept = { request: digest, answer }
    this.#kept.set(name, kept)
    const [oldest] = this.#kept.keys()
    if (this.#kept.size > MAX_KEPT && oldest !== undefined) this.#kept.delete(oldest)
    answer.catch(() => {
      if (this.#kept.get(name) === kept) this.#kept.delete(name)
    })
    return answer
  }
}
