/** What a repository's files say about garbage, cheaply. */
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { RepositoryFacts } from './collect-policy.ts'
import { runGit } from './git-process.ts'

/** Loose objects are spread evenly over 256 folders: one of them tells about all. */
const SAMPLE = '17'
const FOLDERS = 256
/** Of a pack's index (gitformat-pack): what it has besides objects, and for each object. Bytes. */
const INDEX_BASE = 8 + 256 * 4 + 2 * 20
const INDEX_ENTRY = 20 + 4 + 4

export type FileCounts = Pick<RepositoryFacts, 'packs' | 'loose' | 'unmapped'>

export async function countFiles(path: string): Promise<FileCounts> {
  const names = async (folder: string): Promise<string[]> => readdir(join(path, 'objects', folder)).catch(() => [])
  const inPack = await names('pack')
  const packs = inPack.filter((name) => name.endsWith('.pack')).length
  const isMapped = inPack.some((name) => name.endsWith('.bitmap'))
  const indexes = isMapped ? [] : inPack.filter((name) => name.endsWith('.idx'))
  let unmapped = 0
  for (const name of indexes) unmapped += await indexed(join(path, 'objects', 'pack', name))
  return { packs, loose: (await names(SAMPLE)).length * FOLDERS, unmapped }
}

/** Objects in a pack, by the size of its index. One that is larger than 2 GiB has some bytes more. */
async function indexed(path: string): Promise<number> {
  const size = await stat(path).then(
    (found) => found.size,
    () => 0,
  )
  return Math.max(0, Math.floor((size - INDEX_BASE) / INDEX_ENTRY))
}

/** Whether no ref reaches one of some commits. Those that are missing do not count. @param path of a prepared repository */
export async function isUnreached(path: string, tips: readonly string[], signal: AbortSignal): Promise<boolean> {
  const args = ['rev-list', '--ignore-missing', '--max-count=1', '--stdin', '--not', '--all']
  // those read from standard input are wanted ones, whatever the command line says of refs
  const { code, stdout } = await runGit({ args, repository: path, foreign: false, signal }, `${tips.join('\n')}\n`)
  return code === 0 && stdout.length > 0
}
