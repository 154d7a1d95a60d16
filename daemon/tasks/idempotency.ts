/** One task for one key: in parallel, after the fact, and after a restart. */
import { createHash } from 'node:crypto'
import type { TaskView } from '../../protocol/api.ts'
import { MeshError } from '../../protocol/errors.ts'
import { addText } from './digest.ts'
import type { TaskSpec } from './task-spec.ts'
import type { KeyedRequest, TaskStore } from './task-store.ts'
import type { TaskCaller } from './tasks.ts'

export class IdempotencyKeys {
  readonly #store: TaskStore
  /** Requests being stored, by subject and key: the journal does not know them yet. */
  readonly #pending = new Map<string, { readonly request: string; readonly task: Promise<TaskView> }>()

  constructor(store: TaskStore) {
    this.#store = store
  }

  describe(kind: string, spec: TaskSpec, caller: TaskCaller): KeyedRequest | undefined {
    if (caller.key === undefined) return undefined
    const hash = createHash('sha256')
    const { requires, limits, hostFunctions, fresh } = spec
    addText(hash, JSON.stringify([kind, spec.digest, requires, limits, hostFunctions, fresh]))
    for (const input of spec.inputs) addText(hash, input)
    return { subject: caller.subject, key: caller.key, request: hash.digest('hex') }
  }

  /**
   * The task of this key: the one it made before, or the one `make` makes now.
   * @throws MeshError E_KEY_REUSED when the key belongs to another request
   */
  async once(
    keyed: KeyedRequest | undefined,
    make: () => Promise<TaskView>,
    known: (id: string) => TaskView,
  ): Promise<TaskView> {
    if (keyed === undefined) return make()
    const name = `${keyed.subject}\0${keyed.key}`
    const pending = this.#pending.get(name)
    if (pending !== undefined) return same(keyed, pending.request) && known((await pending.task).id)
    const before = this.#store.key(keyed.subject, keyed.key)
    if (before !== undefined) return same(keyed, before.request) && known(before.task)
    const task = make()
    this.#pending.set(name, { request: keyed.request, task })
    try {
      return await task
    } finally {
      this.#pending.delete(name)
    }
  }
}

function same(keyed: KeyedRequest, request: string): true {
  if (keyed.request === request) return true
  throw new MeshError(
    'E_KEY_REUSED',
    `Cannot use the idempotency key "${keyed.key}": it belongs to a different request`,
    {
      hint: 'Use a new key for a new request; repeat a request unchanged to get its answer again',
    },
  )
}
