/** Which files of the project the gates look at. */
import { readdirSync } from 'node:fs'
import { join, relative } from 'node:path'

const SKIPPED = new Set(['node_modules', '.git', '.cache', 'dist', 'gen', 'planted'])

/** Folders that hold source code. */
export const SOURCE_FOLDERS = ['protocol', 'daemon', 'sdk/src', 'test', 'bench', 'examples', 'scripts'] as const

/** Every file below `root` that is written by people, as sorted relative paths. */
export function writtenFiles(root: string, below = ''): string[] {
  return readdirSync(join(root, below), { withFileTypes: true })
    .filter((entry) => !SKIPPED.has(entry.name) && !entry.name.endsWith('.tgz'))
    .flatMap((entry) => {
      const path = join(below, entry.name)
      if (entry.isDirectory()) return writtenFiles(root, path)
      return entry.isFile() ? [relative('.', path)] : []
    })
    .sort()
}

/** The TypeScript sources, without fixtures: those are data. */
export function sourceFiles(root: string): string[] {
  return writtenFiles(root).filter(
    (path) =>
      path.endsWith('.ts') &&
      !path.startsWith('test/fixtures/') &&
      SOURCE_FOLDERS.some((folder) => path.startsWith(`${folder}/`)),
  )
}
