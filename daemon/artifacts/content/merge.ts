/** Three-way merges without a checkout, by `git merge-tree --write-tree` in a quarantine; conflicts come back as data. */
import { MeshError } from '../../../protocol/errors.ts'
import type { Staging } from '../store/artifact-store.ts'
import { runGit } from '../store/git-process.ts'

export interface MergeConflict {
  readonly path: string
  /** What kind, in Git's words, e.g. "contents", "modify/delete", "binary" */
  readonly reason: string
}

export type MergedTree =
  | { readonly clean: true; readonly tree: string }
  | { readonly clean: false; readonly conflicts: readonly MergeConflict[] }

const OUTPUT_BYTES = 8 << 20

/**
 * Writes the merged tree into the quarantine. Answer of Git, each field ended by NUL: id of the tree; with conflicts also the paths, an empty field,
 * and messages of: number of paths, the paths, the kind ("CONFLICT (contents)"), a sentence.
 * @throws MeshError E_CONFLICT when the two have no common history, E_TIMEOUT, E_TOO_LARGE
 */
export async function mergeTrees(
  staging: Staging,
  repository: string,
  ours: string,
  theirs: string,
): Promise<MergedTree> {
  const args = ['merge-tree', '--write-tree', '-z', '--name-only', '--messages', ours, theirs]
  const places = { repository: staging.path, reads: [repository], writes: [staging.path] }
  const { code, stdout, stderr } = await runGit({
    args,
    ...places,
    foreign: true,
    limits: { outputBytes: OUTPUT_BYTES },
  })
  const fields = stdout.toString('utf8').split('\0')
  const tree = fields[0] ?? ''
  if (code === 0) return { clean: true, tree }
  if (code === 1) return { clean: false, conflicts: conflictsOf(fields.slice(1)) }
  if (stderr.includes('unrelated histories'))
    throw new MeshError('E_CONFLICT', 'Cannot merge: the two have no commit in common')
  throw new MeshError('E_INTERNAL', 'Something went wrong inside the daemon', {
    cause: new Error(`git merge-tree: ${code} ${stderr}`),
  })
}

function conflictsOf(fields: readonly string[]): MergeConflict[] {
  const end = fields.indexOf('')
  const reasons = new Map<string, string | undefined>(fields.slice(0, end).map((path) => [path, undefined]))
  for (let at = end + 1; at < fields.length; ) {
    const count = Number(fields[at])
    if (!Number.isSafeInteger(count) || count < 1) break
    const paths = fields.slice(at + 1, at + 1 + count)
    const kind = /^CONFLICT \((.*)\)$/.exec(fields[at + 1 + count] ?? '')?.[1]
    if (kind !== undefined)
      for (const path of paths) if (reasons.has(path)) reasons.set(path, reasons.get(path) ?? kind)
    at += count + 3
  }
  return [...reasons].map(([path, reason = 'contents']) => ({ path, reason }))
}
