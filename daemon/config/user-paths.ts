import { homedir, userInfo } from 'node:os'
import { isAbsolute } from 'node:path'
import { type Paths, resolvePaths } from './paths.ts'

/** The paths of a node of the user that this process runs as. */
export function userPaths(env: Readonly<Record<string, string | undefined>> = process.env): Paths {
  return resolvePaths(env, process.geteuid?.() ?? -1, home())
}

/**
 * In a bare container the user may have no entry anywhere and no HOME; with MANYHANDS_HOME none is needed.
 * A HOME that is empty or relative would be another folder for each place a command is typed at.
 */
function home(): string {
  try {
    const named = homedir()
    return isAbsolute(named) ? named : userInfo().homedir
  } catch {
    return '/'
  }
}
