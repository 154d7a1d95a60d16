/** Objects that were read or made lately, by repository: what one may see is never answered to another. Bounded in bytes; the longest unused goes first. */
import type { GitObject } from './git-object.ts'

const MAX_BYTES = 32 << 20
const MAX_OBJECT_BYTES = 1 << 20
/** What an entry takes beside its content, roughly */
const OVERHEAD_BYTES = 400

export class ObjectCache {
  readonly #objects = new Map<string, GitObject>()
  #bytes = 0

  get(repository: string, oid: string): GitObject | undefined {
    const key = keyOf(repository, oid)
    const found = this.#objects.get(key)
    if (found === undefined) return undefined
    this.#objects.delete(key)
    this.#objects.set(key, found)
    return found
  }

  put(repository: string, object: GitObject): void {
    const key = keyOf(repository, object.oid)
    if (object.content.length > MAX_OBJECT_BYTES || this.#objects.has(key)) return
    this.#objects.set(key, object)
    this.#bytes += object.content.length + OVERHEAD_BYTES
    for (const oldest of this.#objects.keys()) {
      if (this.#bytes <= MAX_BYTES) break
      this.#remove(oldest)
    }
  }

  forget(repository: string): void {
    for (const key of this.#objects.keys()) if (key.startsWith(`${repository}\0`)) this.#remove(key)
  }

  #remove(key: string): void {
    const found = this.#objects.get(key)
    if (found === undefined) return
    this.#objects.delete(key)
    this.#bytes -= found.content.length + OVERHEAD_BYTES
  }
}

const keyOf = (repository: string, oid: string): string => `${repository}\0${oid}`
