/**
 * What isomorphic-git takes for a file system: a repository in which every object is loose. It never sees a file of ours: an object it asks for is read by
 * Git, which has checked it when it came in, and handed over as a loose file would be (zlib of "<type> <length>\0" + content, not compressed). So it
 * parses no packs, holds none in memory, and finds no refs, configuration or index.
 */
import { deflateSync } from 'node:zlib'
import type { PromiseFsClient } from 'isomorphic-git'
import type { GitObject } from '../store/git-object.ts'

/** Where it believes the repository to be. */
export const GIT_DIR = '/repository'
const OBJECT = /^\/repository\/objects\/([0-9a-f]{2})\/([0-9a-f]{38})$/

/** @param read undefined when there is no such object */
export function objectFs(read: (oid: string) => Promise<GitObject | undefined>): PromiseFsClient {
  const none = async (path: string): Promise<never> => {
    throw Object.assign(new Error(`ENOENT: ${path}`), { code: 'ENOENT' })
  }
  const readOnly = async (path: string): Promise<never> => {
    throw Object.assign(new Error(`EROFS: ${path}`), { code: 'EROFS' })
  }
  const readFile = async (path: string): Promise<Uint8Array> => {
    const match = OBJECT.exec(path)
    const object = match === null ? undefined : await read(`${match[1]}${match[2]}`)
    return object === undefined ? none(path) : loose(object)
  }
  const promises = {
    readFile,
    writeFile: readOnly,
    unlink: readOnly,
    mkdir: readOnly,
    rmdir: readOnly,
    symlink: readOnly,
  }
  return { promises: { ...promises, readdir: async () => [], stat: none, lstat: none, readlink: none } }
}

function loose({ type, content }: GitObject): Uint8Array {
  return deflateSync(Buffer.concat([Buffer.from(`${type} ${content.length}\0`), content]), { level: 0 })
}
