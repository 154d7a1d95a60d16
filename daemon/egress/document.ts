/** A small list kept in one private JSON file and in memory: durable before it is seen. */
import { dirname } from 'node:path'
import * as z from 'zod'
import { MeshError } from '../../protocol/errors.ts'
import { writeFileAtomic } from '../files/atomic-file.ts'
import { ensurePrivateFolder, readPrivateFile } from '../files/private-file.ts'

const FILE_BYTES = 32 << 20

export class ListDocument<T> {
  readonly #path: string
  #items: readonly T[]
  #writing: Promise<unknown> = Promise.resolve()
  /** Told after a change is durable */
  onChange: () => Promise<void> = async () => undefined

  private constructor(path: string, items: readonly T[]) {
    this.#path = path
    this.#items = items
  }

  /** @throws MeshError E_CONFIG when it is damaged: rules must not vanish in silence; E_INSECURE_FILE */
  static async open<S extends z.ZodType>(path: string, item: S): Promise<ListDocument<z.output<S>>> {
    await ensurePrivateFolder(dirname(path))
    const bytes = await readPrivateFile(path, FILE_BYTES)
    if (bytes === undefined) return new ListDocument<z.output<S>>(path, [])
    const parsed = z.strictObject({ version: z.literal(1), items: z.array(item) }).safeParse(json(bytes))
    if (!parsed.success)
      throw new MeshError('E_CONFIG', `Cannot read ${path}: it is not in the form it was written in`, {
        hint: 'Restore it from a copy, or remove it to begin with nothing allowed',
      })
    return new ListDocument(path, parsed.data.items)
  }

  get items(): readonly T[] {
    return this.#items
  }

  /** Changes follow each other. @throws MeshError E_STORAGE, and what `edit` throws */
  change(edit: (items: readonly T[]) => readonly T[]): Promise<void> {
    const done = this.#writing.then(async () => {
      const items = edit(this.#items)
      if (items === this.#items) return
      try {
        await writeFileAtomic(this.#path, `${JSON.stringify({ version: 1, items }, undefined, 1)}\n`)
      } catch (cause) {
        throw new MeshError('E_STORAGE', 'The change cannot be stored: the disk refuses', { cause })
      }
      this.#items = items
      await this.onChange()
    })
    this.#writing = done.catch(() => undefined)
    return done
  }
}

function json(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'))
  } catch {
    return undefined
  }
}
