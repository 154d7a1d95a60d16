/**
 * Paths of files in an artifact, as the API takes them: what would be harmless in a tree and harmful in somebody's checkout is refused. Git's own rule
 * (verify_path, fsck) refuses ".git" in all the spellings that some file system takes for it; so does this, and it also refuses control characters,
 * backslashes and ".gitmodules", which names places to fetch from.
 */
import { LIMITS } from '../limits.ts'

const MAX_COMPONENT_BYTES = 255
const MAX_DEPTH = 64
/** Code points that HFS+ leaves out when it compares names */
const IGNORED = /[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]/g
const CONTROL = /[\p{Cc}\\]/u

/** Why `path` cannot be that of a file; undefined when it can. */
export function filePathFault(path: string): string | undefined {
  if (!path.isWellFormed()) return 'it holds half of a surrogate pair'
  if (Buffer.byteLength(path) > LIMITS.pathBytes) return `it is longer than ${LIMITS.pathBytes} bytes`
  if (CONTROL.test(path)) return 'it holds a control character or a backslash'
  const components = path.split('/')
  if (components.length > MAX_DEPTH) return `it is deeper than ${MAX_DEPTH} folders`
  for (const component of components) {
    const fault = componentFault(component)
    if (fault !== undefined) return fault
  }
  return undefined
}

function componentFault(component: string): string | undefined {
  if (component === '') return 'a part of it is empty'
  if (component === '.' || component === '..') return 'a part of it is "." or ".."'
  if (Buffer.byteLength(component) > MAX_COMPONENT_BYTES)
    return `a part of it is longer than ${MAX_COMPONENT_BYTES} bytes`
  return isGitsOwn(component) ? 'a part of it is a name that Git keeps for itself' : undefined
}

/** As NTFS and HFS+ would read it: without case, trailing dots and spaces, streams and invisible characters; and by its short name. */
function isGitsOwn(component: string): boolean {
  const seen = component
    .replaceAll(IGNORED, '')
    .toLowerCase()
    .replace(/:.*$/s, '')
    .replace(/[. ]+$/, '')
  return seen === '.git' || seen === '.gitmodules' || /^git(?:mod)?~\d+$/.test(seen) || /^gi[0-9a-f]{4}~\d+$/.test(seen)
}
