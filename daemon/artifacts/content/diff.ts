/** What changed between two commits: the paths, and unified patches where both sides are text. */
import type { DiffEntry, DiffView } from '../../../protocol/api-artifacts.ts'
import { MeshError } from '../../../protocol/errors.ts'
import { runGit } from '../store/git-process.ts'

const PATCH_BYTES = 4 << 20
const RAW_BYTES = 16 << 20
const COMMON = ['diff-tree', '-r', '--no-renames', '--no-ext-diff', '--no-textconv', '--no-color', '--full-index']

export interface DiffOptions {
  /** Paths or folders. @default all */
  readonly paths?: readonly string[]
  /** @default 300 */
  readonly limit?: number
  /** @default true */
  readonly patches?: boolean
}

/** @param from, to ids of commits or trees that are there @throws MeshError E_TOO_LARGE when not even the paths fit */
export async function diffTrees(
  repository: string,
  from: string,
  to: string,
  options: DiffOptions = {},
): Promise<DiffView> {
  const limit = options.limit ?? 300
  const raw = await differing(repository, from, to, options.paths ?? [])
  const entries = raw.slice(0, limit)
  const patches =
    options.patches === false || entries.length === 0 ? undefined : await patchesOf(repository, from, to, entries)
  return {
    from,
    to,
    truncated: raw.length > limit,
    entries: entries.map((entry) => {
      const patch = patches?.get(entry.path)
      return patch === undefined ? entry : { ...entry, patch }
    }),
  }
}

const NONE = '0'.repeat(40)

/** ":<mode> <mode> <id> <id> <letter>" NUL path NUL, for each. */
async function differing(repository: string, from: string, to: string, paths: readonly string[]): Promise<DiffEntry[]> {
  const args = ['--literal-pathspecs', ...COMMON, '--raw', '-z', '--end-of-options', from, to, '--', ...paths]
  const { code, stdout } = await runGit({ args, repository, foreign: true, limits: { outputBytes: RAW_BYTES } })
  if (code !== 0) throw new MeshError('E_BAD_REQUEST', 'Cannot compare: both sides must be commits that are held here')
  const fields = stdout.toString('utf8').split('\0')
  const entries: DiffEntry[] = []
  for (let at = 0; at + 1 < fields.length; at += 2) {
    const [, , old = NONE, now = NONE] = (fields[at] ?? '').split(' ')
    const path = fields[at + 1] ?? ''
    const sides = { ...(old === NONE ? {} : { old }), ...(now === NONE ? {} : { new: now }) }
    entries.push({ path, change: old === NONE ? 'added' : now === NONE ? 'removed' : 'changed', ...sides })
  }
  return entries
}

async function patchesOf(
  repository: string,
  from: string,
  to: string,
  entries: readonly DiffEntry[],
): Promise<Map<string, string> | undefined> {
  const paths = entries.map(({ path }) => path)
  // a command line has an end
  if (paths.reduce((sum, path) => sum + Buffer.byteLength(path) + 1, 0) > 100_000) return undefined
  const args = ['--literal-pathspecs', ...COMMON, '-p', '--end-of-options', from, to, '--', ...paths]
  const call = { args, repository, foreign: true, limits: { outputBytes: PATCH_BYTES } }
  const done = await runGit(call).catch((error: unknown) => {
    if (error instanceof MeshError && error.code === 'E_TOO_LARGE') return undefined
    throw error
  })
  if (done === undefined || done.code !== 0) return undefined
  return byPath(done.stdout.toString('utf8'), entries)
}

/** Sections come in the order of the entries. A line of content never begins with "diff": it has a sign before it. */
function byPath(text: string, entries: readonly DiffEntry[]): Map<string, string> {
  const sections = text.split(/^(?=diff --git )/m).filter((section) => section !== '')
  const patches = new Map<string, string>()
  let at = 0
  for (const { path, old, new: now } of entries) {
    const parts: string[] = []
    // a file that became a link, or the other way round, takes two sections: one without it, one with it
    const first = sections[at++] ?? ''
    parts.push(first)
    if (old !== undefined && now !== undefined && /^deleted file mode /m.test(first.split('\n@@')[0] ?? ''))
      parts.push(sections[at++] ?? '')
    const patch = parts.join('')
    if (!/^Binary files /m.test(patch)) patches.set(path, patch)
  }
  return patches
}
