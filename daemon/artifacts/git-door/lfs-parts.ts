/**
 * What came of large files before the link to their sender broke. It is kept for a while, so that the rest is enough when they are asked for again: one file for each
 * artifact and sender, since it is that sender's word alone until the whole is checked. Its room stays reserved, and it gives way to whatever lacks room. What this
 * process knows of it is gone with the process; what is left on disk then is swept like any upload that was left behind (lfs-disk.ts).
 */
import { createHash, type Hash } from 'node:crypto'
import { rm, stat } from 'node:fs/promises'
import { type ErrorCode, toMeshError } from '../../../protocol/errors.ts'

/** A file on its way in. */
export interface ComingFile {
  readonly oid: string
  readonly path: string
  /** Of what is on disk */
  readonly hash: Hash
  bytes: number
}

interface Kept {
  readonly file: ComingFile
  readonly giveBack: () => void
  readonly timer: NodeJS.Timeout
}

const MAX_PARTS = 32
const KEEP_MS = 30 * 60_000
/** What the link is to blame for, not the sender. */
const LOSSES: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['E_UNREACHABLE', 'E_TIMEOUT', 'E_OVERLOADED'])

export function comingFile(oid: string, path: string): ComingFile {
  return { oid, path, hash: createHash('sha256'), bytes: 0 }
}

export class LfsParts {
  /** By artifact and sender, oldest first */
  readonly #kept = new Map<string, Kept>()

  /** @param giveBack of the room it takes */
  async keep(artifact: string, sender: string, file: ComingFile, giveBack: () => void): Promise<void> {
    const key = `${artifact}/${sender}`
    await this.#drop(key)
    const timer = setTimeout(() => void this.#drop(key), KEEP_MS).unref()
    this.#kept.set(key, { file, giveBack, timer })
    const [oldest] = this.#kept.keys()
    if (this.#kept.size > MAX_PARTS && oldest !== undefined) await this.#drop(oldest)
  }

  /** What the sender may go on from; it is the caller's now, and its room is given back. */
  async take(artifact: string, sender: string): Promise<ComingFile | undefined> {
    const file = this.#forget(`${artifact}/${sender}`)
    if (file === undefined) return undefined
    // The artifact may have been removed meanwhile
    const found = await stat(file.path).catch(() => undefined)
    if (found?.size === file.bytes) return file
    await discard(file)
    return undefined
  }

  async clear(): Promise<void> {
    await Promise.all([...this.#kept.keys()].map((key) => this.#drop(key)))
  }

  /** The room is free at once. */
  async #drop(key: string): Promise<void> {
    const file = this.#forget(key)
    if (file !== undefined) await discard(file)
  }

  #forget(key: string): ComingFile | undefined {
    const kept = this.#kept.get(key)
    this.#kept.delete(key)
    clearTimeout(kept?.timer)
    kept?.giveBack()
    return kept?.file
  }
}

/** Whether what came before it is worth keeping. */
export function isLoss(error: unknown): boolean {
  return LOSSES.has(toMeshError(error).code)
}

/** Never rejects: what stays is swept later. */
export async function discard({ path }: ComingFile): Promise<void> {
  await rm(path, { force: true }).catch(() => undefined)
}
