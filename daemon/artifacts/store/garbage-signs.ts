/** What a repository's files say about garbage, cheaply. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { runGit } from './git-process.ts'

/** Loose objects are spread evenly over 256 folders: one of them tells about all. */
const SAMPLE = '17'
const FOLDERS = 256

export async function countFiles(path: string): Promise<{ packs: number; loose: number }> {
  const names = async (folder: string): Promise<string[]> => readdir(join(path, 'objects', folder)).catch(() => [])
  const packs = (await names('pack')).filter((name) => name.endsWith('.pack')).length
  return { packs, loose: (await names(SAMPLE)).length * FOLDERS }
}

/** Whether no ref reaches one of some commits. Those that are missing do not count. @param path of a prepared repository */
export async function isUnreached(path: string, tips: readonly string[], signal: AbortSignal): Promise<boolean> {
  const args = ['rev-list', '--ignore-missing', '--max-count=1', '--stdin', '--not', '--all']
  // those read from standard input are wanted ones, whatever the command line says of refs
  const { code, stdout } = await runGit({ args, repository: path, foreign: false, signal }, `${tips.join('\n')}\n`)
  return code === 0 && stdout.length > 0
}
