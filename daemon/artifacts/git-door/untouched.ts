import { access, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CONFIG, makeSkeleton } from '../store/repository-files.ts'

/**
 * Before Git looks at a repository: what could make it run or read something else is as the store made it, or made so again.
 * Hooks are not looked for: they are never run, wherever they lie.
 * @throws Error of the file system
 */
export async function keepUntouched(repository: string, defaultBranch: string): Promise<void> {
  const [config, isLinked] = await Promise.all([
    readFile(join(repository, 'config'), 'latin1').catch(() => undefined),
    exists(join(repository, 'objects', 'info', 'alternates')),
  ])
  if (config !== CONFIG || isLinked) await makeSkeleton(repository, defaultBranch)
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}
