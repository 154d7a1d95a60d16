/** Asks Git which commits descend from which, for those who decide by a synchronous question. */
import type { IsAncestor } from '../../../protocol/artifact/canonical-refs.ts'
import { MeshError } from '../../../protocol/errors.ts'
import { runGit } from './git-process.ts'

/** Pairs looked at for one decision. */
export const MAX_PAIRS = 4_096

/**
 * @param repository sees all the commits @param pairs that may be asked for; a pair that was not named counts as not related
 * @throws MeshError E_TOO_LARGE, E_GIT_MISSING, E_TIMEOUT
 */
export async function ancestors(
  repository: string,
  pairs: readonly (readonly [string, string])[],
): Promise<IsAncestor> {
  const distinct = new Map(pairs.filter(([a, b]) => a !== b).map((pair) => [pair.join(' '), pair]))
  if (distinct.size > MAX_PAIRS)
    throw new MeshError('E_TOO_LARGE', `Cannot compare commits: at most ${MAX_PAIRS} pairs at once`)
  const related = new Set<string>()
  for (const [key, [ancestor, descendant]] of distinct) {
    const args = ['merge-base', '--is-ancestor', ancestor, descendant]
    // 0: it is; 1: it is not; more: one is no commit, which is as good as not
    const { code } = await runGit({ args, repository, foreign: false })
    if (code === 0) related.add(key)
  }
  return (ancestor, descendant) => ancestor === descendant || related.has(`${ancestor} ${descendant}`)
}
