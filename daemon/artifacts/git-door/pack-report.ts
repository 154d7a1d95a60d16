/**
 * What the runs of {@link acceptPack} say, read as it comes. Three parts, separated by lines "=":
 *
 *   index-pack   "pack <TAB> <id>"                    not looked at
 *   rev-list     <oid> [ SP <path> ]                  what the new tips lead to that was not reachable before
 *   cat-file     <oid> SP <kind> SP <size>            of each object; once contents are expected, each again, followed by LF content LF
 */
import { MeshError } from '../../../protocol/errors.ts'
import type { GitObject, ObjectType } from '../store/git-object.ts'
import type { DoorLimits } from './limits.ts'

export interface ListedObject {
  readonly oid: string
  readonly kind: ObjectType
  readonly size: number
}

const LINE_FEED = 0x0a
const KINDS: readonly ObjectType[] = ['blob', 'tree', 'commit', 'tag']

export class PackReport {
  /** Of tips, as far as they were listed */
  readonly kinds = new Map<string, string>()
  readonly reached: string[] = []
  readonly listed: ListedObject[] = []
  /** What was asked for after {@link expectContents} */
  contents: GitObject[] | undefined
  part = 0
  readonly #limits: DoorLimits
  readonly #tips: ReadonlySet<string>
  #rest: Buffer = Buffer.alloc(0)
  /** The object whose content comes next */
  #next: ListedObject | undefined
  readonly #remembers: boolean
  #objects = 0
  #reached = 0

  /** @param remembers whether `reached` and `listed` are filled: only for a pack that is known to be small */
  constructor(limits: DoorLimits, tips: readonly string[], remembers: boolean) {
    this.#limits = limits
    this.#remembers = remembers
    this.#tips = new Set(tips)
  }

  expectContents(): void {
    this.contents = []
  }

  /** @throws MeshError E_TOO_LARGE, E_OBJECT */
  take(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    let at = 0
    for (;;) {
      const end = this.#next === undefined ? bytes.indexOf(LINE_FEED, at) : at + this.#next.size
      if (end < 0 || end >= bytes.length) break
      if (this.#next === undefined) this.#line(bytes.toString('latin1', at, end))
      else this.#content(this.#next, bytes.subarray(at, end))
      at = end + 1
    }
    this.#rest = bytes.subarray(at)
    if (this.#next === undefined && this.#rest.length > this.#limits.pathBytes + 64) throw this.#longPath()
  }

  /** One line of a listing. @throws MeshError E_TOO_LARGE, E_OBJECT */
  object(line: string): ListedObject {
    const [oid = '', word = '', size = ''] = line.split(' ')
    const kind = KINDS.find((known) => known === word)
    if (kind === undefined)
      throw new MeshError('E_OBJECT', 'Cannot take the push: an object of its pack cannot be read')
    const { objects, blobBytes, treeBytes, commitBytes } = this.#limits
    this.#objects += 1
    if (this.#objects > objects) throw tooLarge(`it holds more than ${objects} objects`)
    const most = kind === 'blob' ? blobBytes : kind === 'tree' ? treeBytes : commitBytes
    if (Number(size) > most) throw tooLarge(`${kind} ${oid} has ${size} bytes, ${most} are allowed`)
    if (this.#tips.has(oid)) this.kinds.set(oid, kind)
    return { oid, kind, size: Number(size) }
  }

  #line(line: string): void {
    if (line === '=') this.part += 1
    else if (this.part === 1) this.#reach(line)
    else if (this.part === 2 && this.contents === undefined) this.#list(this.object(line))
    else if (this.part === 2) this.#next = this.object(line)
  }

  #content({ oid, kind }: ListedObject, bytes: Buffer): void {
    // A copy: the chunk it lies in is larger
    this.contents?.push({ oid, type: kind, content: Buffer.from(bytes) })
    this.#next = undefined
  }

  #reach(line: string): void {
    const { pathBytes, pathDepth, objects } = this.#limits
    const path = line.slice(41)
    if (path.length > pathBytes) throw this.#longPath()
    if (path.length > pathDepth && path.split('/').length > pathDepth)
      throw tooLarge(`a path has more than ${pathDepth} parts`)
    this.#reached += 1
    if (this.#remembers) this.reached.push(line.slice(0, 40))
    if (this.#reached > objects) throw tooLarge(`it brings more than ${objects} objects`)
  }

  #list(object: ListedObject): void {
    if (this.#remembers) this.listed.push(object)
  }

  #longPath(): MeshError {
    return tooLarge(`a path has more than ${this.#limits.pathBytes} bytes`)
  }
}

export function tooLarge(why: string): MeshError {
  return new MeshError('E_TOO_LARGE', `Cannot take the push: ${why}`)
}
