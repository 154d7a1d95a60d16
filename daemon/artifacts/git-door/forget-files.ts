/** The rows of large files of an artifact that is removed. Its files went with the repository, and their bytes with its row. */
import type { Journal } from '../../journal/journal.ts'

const FORGET_AT_ONCE = 500

/** @throws MeshError E_STORAGE */
export async function forgetFiles(journal: Journal, artifact: string): Promise<void> {
  const prefix = `${artifact}/`
  for (const table of ['lfs', 'lfs-wanted']) {
    for (;;) {
      const rows = await journal.range(table, { prefix, limit: FORGET_AT_ONCE })
      if (rows.length === 0) break
      const writes = rows.map(({ key }) => ({ table, key }))
      await journal.append({ type: 'lfs.forgotten', body: Buffer.from(artifact), writes })
    }
  }
}
