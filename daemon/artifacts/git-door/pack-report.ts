/**
 * What the runs of {@link acceptPack} say, read as it comes and not kept. Parts, separated by lines "=":
 *
 *   index-pack   "pack <TAB> <id>"                    not looked at
 *   rev-list     <oid> [ SP <path> ]                  what the new tips lead to that was not reachable before
 *   cat-file     <oid> SP <kind> SP <size>            of each object
 */
import { MeshError } from '../../../protocol/errors.ts'
import type { DoorLimits } from './limits.ts'

const KINDS = ['blob', 'tree', 'commit', 'tag']
const OID_AND_SPACE = 41

export class PackReport {
  /** Of tips, as far as they were listed */
  readonly kinds = new Map<string, string>()
  readonly #limits: DoorLimits
  readonly #tips: ReadonlySet<string>
  #part = 0
  #rest = ''
  #objects = 0
  #reached = 0

  constructor(limits: DoorLimits, tips: readonly string[]) {
    this.#limits = limits
    this.#tips = new Set(tips)
  }

  /** @throws MeshError E_TOO_LARGE, E_OBJECT */
  take(chunk: string): void {
    const lines = (this.#rest + chunk).split('\n')
    this.#rest = lines.pop() ?? ''
    for (const line of lines) {
      if (line === '=') this.#part += 1
      else if (this.#part === 1) this.#reach(line)
      else if (this.#part === 2) this.object(line)
    }
    if (this.#rest.length > this.#limits.pathBytes + OID_AND_SPACE) throw this.#longPath()
  }

  /** One line about an object. @throws MeshError E_TOO_LARGE, E_OBJECT */
  object(line: string): void {
    const [oid = '', kind = '', size = ''] = line.split(' ')
    if (!KINDS.includes(kind))
      throw new MeshError('E_OBJECT', 'Cannot take the push: an object of its pack cannot be read')
    const { objects, blobBytes, treeBytes, commitBytes } = this.#limits
    this.#objects += 1
    if (this.#objects > objects) throw tooLarge(`it holds more than ${objects} objects`)
    const most = kind === 'blob' ? blobBytes : kind === 'tree' ? treeBytes : commitBytes
    if (Number(size) > most) throw tooLarge(`${kind} ${oid} has ${size} bytes, ${most} are allowed`)
    if (this.#tips.has(oid)) this.kinds.set(oid, kind)
  }

  #reach(line: string): void {
    const { pathBytes, pathDepth, objects } = this.#limits
    const path = line.slice(OID_AND_SPACE)
    if (path.length > pathBytes) throw this.#longPath()
    if (path.length > pathDepth && path.split('/').length > pathDepth)
      throw tooLarge(`a path has more than ${pathDepth} parts`)
    this.#reached += 1
    if (this.#reached > objects) throw tooLarge(`it brings more than ${objects} objects`)
  }

  #longPath(): MeshError {
    return tooLarge(`a path has more than ${this.#limits.pathBytes} bytes`)
  }
}

export function tooLarge(why: string): MeshError {
  return new MeshError('E_TOO_LARGE', `Cannot take the push: ${why}`)
}
