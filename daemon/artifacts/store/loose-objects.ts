/** Reads the loose objects of a quarantine (gitformat-loose: zlib over "<kind> <size>" NUL content), after Git has checked them. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { inflate } from 'node:zlib'
import { isObjectType, type GitObject, gitObject } from './git-object.ts'

const unpacked = promisify(inflate)
const MAX_HEAD = 32

/**
 * @param most bytes of all contents together
 * @returns undefined when there is more, or a file that is no object
 */
export async function readLoose(folder: string, most: number): Promise<GitObject[] | undefined> {
  const objects: GitObject[] = []
  let left = most
  for (const prefix of await readdir(folder)) {
    if (!/^[0-9a-f]{2}$/.test(prefix)) continue
    for (const rest of await readdir(join(folder, prefix))) {
      const object = await readOne(join(folder, prefix, rest), left)
      if (object === undefined || object.oid !== prefix + rest) return undefined
      left -= object.content.length
      objects.push(object)
    }
  }
  return objects
}

async function readOne(path: string, most: number): Promise<GitObject | undefined> {
  const bytes = await unpacked(await readFile(path), { maxOutputLength: most + MAX_HEAD }).catch(() => undefined)
  const end = bytes?.indexOf(0) ?? -1
  if (bytes === undefined || end < 0 || end > MAX_HEAD) return undefined
  const [type, size] = bytes.toString('latin1', 0, end).split(' ')
  const content = bytes.subarray(end + 1)
  return !isObjectType(type) || content.length !== Number(size) || content.length > most
    ? undefined
    : gitObject(type, content)
}
