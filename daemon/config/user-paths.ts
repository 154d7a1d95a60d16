import { homedir } from 'node:os'
import { type Paths, resolvePaths } from './paths.ts'

/** The paths of a node of the user that this process runs as. */
export function userPaths(env: Readonly<Record<string, string | undefined>> = process.env): Paths {
  return resolvePaths(env, process.geteuid?.() ?? -1, home())
}

/** In a bare container the user may have no entry anywhere and no HOME; with MANYHANDS_HOME none is needed. */
function home(): string {
  try {
    return homedir()
  } catch {
    return '/'
  }
}
