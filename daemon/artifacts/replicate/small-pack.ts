/**
 * A pack made without starting Git, when little is missing: from the wanted tips down to what the asker has, objects that are not where a parent has them already. It is
 * an offer like any other: the asker's Git checks it and that nothing is missing. What turns out to be more, or unusual, is left to `git upload-pack`.
 */
import { MeshError } from '../../../protocol/errors.ts'
import { decodeTree, type GitObject } from '../store/git-object.ts'
import type { ObjectReader } from '../store/object-reader.ts'
import { makePack } from '../store/pack-file.ts'
import type { Wanted } from './fetch-request.ts'

/** Content of the objects sent. */
const MAX_BYTES = 64 << 10
const MAX_OBJECTS = 256
/** Objects looked at, with those a parent has; and the bytes of one of them. */
const MAX_READS = 1_024
const MAX_READ_BYTES = 256 << 10

/** @param repository with everything acknowledged in it @returns undefined when it would not be small. @throws MeshError as the reader does */
export async function smallPack(reader: ObjectReader, repository: string, wanted: Wanted): Promise<Buffer | undefined> {
  try {
    return makePack(await new Difference(reader, repository, wanted).objects()).bytes
  } catch (error) {
    // A tree of a form that no Git writes today is Git's business
    if (error === LARGE || (error instanceof MeshError && error.code === 'E_STORAGE')) return undefined
    throw error
  }
}

const LARGE = new Error('It is not small')

class Difference {
  readonly #reader: ObjectReader
  readonly #repository: string
  readonly #queue: string[]
  /** The asker's tips, and what was looked at */
  readonly #seen: Set<string>
  readonly #found: GitObject[] = []
  #bytes = 0
  #reads = 0

  constructor(reader: ObjectReader, repository: string, { wants, haves }: Wanted) {
    this.#reader = reader
    this.#repository = repository
    this.#queue = [...wants]
    this.#seen = new Set(haves)
  }

  async objects(): Promise<readonly GitObject[]> {
    for (let oid = this.#queue.shift(); oid !== undefined; oid = this.#queue.shift()) {
      if (this.#seen.has(oid)) continue
      this.#seen.add(oid)
      const object = await this.#take(oid)
      if (object.type === 'commit') await this.#commit(object)
      // A tag may name anything, and seldom comes with few objects
      else throw LARGE
    }
    return this.#found
  }

  async #commit({ content }: GitObject): Promise<void> {
    const { tree, parents } = headOf(content)
    const bases: string[] = []
    for (const parent of parents) bases.push(headOf((await this.#read(parent)).content).tree)
    this.#queue.push(...parents)
    await this.#tree(tree, bases)
  }

  /** @param bases the folders that the parents have there: what stands in them need not be sent */
  async #tree(oid: string, bases: readonly string[]): Promise<void> {
    if (bases.includes(oid) || this.#seen.has(oid)) return
    this.#seen.add(oid)
    const entries = decodeTree((await this.#take(oid)).content)
    const standing = new Map<string, string[]>()
    const known = new Set<string>()
    for (const base of bases) {
      for (const entry of decodeTree((await this.#read(base)).content)) {
        known.add(entry.oid)
        if (entry.mode === '40000') standing.set(entry.name, [...(standing.get(entry.name) ?? []), entry.oid])
      }
    }
    for (const { oid: inner, mode, name } of entries) {
      if (mode === '160000' || known.has(inner)) continue
      if (mode === '40000') await this.#tree(inner, standing.get(name) ?? [])
      else if (!this.#seen.has(inner)) {
        this.#seen.add(inner)
        await this.#take(inner)
      }
    }
  }

  /** Reads an object that is to be sent. */
  async #take(oid: string): Promise<GitObject> {
    const object = await this.#read(oid)
    this.#bytes += object.content.length
    if (this.#found.push(object) > MAX_OBJECTS || this.#bytes > MAX_BYTES) throw LARGE
    return object
  }

  async #read(oid: string): Promise<GitObject> {
    if (++this.#reads > MAX_READS) throw LARGE
    const info = await this.#reader.info(this.#repository, oid)
    if (info === undefined || info.size > MAX_READ_BYTES) throw LARGE
    const object = await this.#reader.read(this.#repository, oid)
    if (object === undefined) throw LARGE
    return object
  }
}

/** Of a commit that was accepted before: its first lines are its tree and its parents. */
function headOf(content: Uint8Array): { readonly tree: string; readonly parents: readonly string[] } {
  const text = Buffer.from(content.buffer, content.byteOffset, content.length).toString('latin1')
  const head = /^tree ([0-9a-f]{40})\n((?:parent [0-9a-f]{40}\n)*)/.exec(text)
  if (head?.[1] === undefined) throw LARGE
  return { tree: head[1], parents: [...(head[2] ?? '').matchAll(/[0-9a-f]{40}/g)].map(([oid]) => oid) }
}
