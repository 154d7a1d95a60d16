/**
 * Reads objects that were accepted before, by kept `git cat-file --batch-command -z` processes: one for each repository that is being read, a few at once,
 * ended when idle. Starting Git costs milliseconds, asking one that runs a tenth of one.
 *
 *   asked      "contents <object>" NUL, or "info <object>" NUL
 *   answered   "<id> <type> <size>" LF [ content LF ], or "<object> missing" LF
 */
import { MeshError } from '../../../protocol/errors.ts'
import { isObjectId } from '../../../protocol/artifact/ref-name.ts'
import type { GitObject, ObjectType } from './git-object.ts'
import { ObjectCache } from './object-cache.ts'
import { type GitChild, spawnGit } from './git-process.ts'

export interface ObjectInfo {
  readonly oid: string
  readonly type: ObjectType
  /** Bytes of its content */
  readonly size: number
}

export interface ReaderOptions {
  /** Processes at once. @default 8 */
  readonly processes?: number
  /** How long one is kept without being asked, milliseconds. @default 20,000 */
  readonly idleMs?: number
  /** For repositories that are not this node's own: Git reads them in a jail. @default false */
  readonly foreign?: boolean
}

/** Questions that wait for one process. */
const MAX_ASKED = 4_096
/** Other questions, each answered with an error, that one waits out. */
const MAX_SPOILT = 1_000
const ANSWER_MS = 60_000
const LIFE_MS = 3_600_000
const MAX_HEADER = 8_192
const NAME = /^[0-9a-f]{40}(?:\^\{(?:tree|commit)\}|:[^\n\0]{0,4096})?$/

interface Question {
  readonly line: string
  readonly contents: boolean
  readonly maxBytes: number
  readonly resolve: (answer: GitObject | ObjectInfo | undefined) => void
  readonly reject: (error: unknown) => void
}

export class ObjectReader {
  readonly #limit: number
  readonly #idleMs: number
  readonly #foreign: boolean
  /** Least recently asked first */
  readonly #kept = new Map<string, Promise<KeptProcess>>()
  readonly #cache = new ObjectCache()
  #closed = false

  constructor(options: ReaderOptions = {}) {
    this.#limit = options.processes ?? 8
    this.#idleMs = options.idleMs ?? 20_000
    this.#foreign = options.foreign ?? false
  }

  /**
   * @param name a full object id, optionally with ":<path>" behind that of a commit or tree, or with "^{tree}" or "^{commit}"
   * @returns undefined when there is no such object
   * @throws MeshError E_TOO_LARGE above `maxBytes`, E_GIT_MISSING, E_TIMEOUT, E_OVERLOADED
   */
  async read(repository: string, name: string, maxBytes = 64 << 20): Promise<GitObject | undefined> {
    const known = this.#cache.get(repository, name)
    if (known !== undefined && known.content.length <= maxBytes) return known
    const answer = await this.#ask(repository, name, true, maxBytes)
    if (answer === undefined || !('content' in answer)) return undefined
    if (answer.oid === name) this.#cache.put(repository, answer)
    return answer
  }

  /** What is in memory; undefined says nothing. */
  known(repository: string, name: string): GitObject | undefined {
    return this.#cache.get(repository, name)
  }

  /** The same without content. */
  async info(repository: string, name: string): Promise<ObjectInfo | undefined> {
    const known = this.#cache.get(repository, name)
    if (known !== undefined) return { oid: known.oid, type: known.type, size: known.content.length }
    const answer = await this.#ask(repository, name, false, 0)
    return answer !== undefined && 'size' in answer ? answer : undefined
  }

  /** Spares reading what was just written. */
  remember(repository: string, objects: Iterable<GitObject>): void {
    for (const object of objects) this.#cache.put(repository, object)
  }

  /** Ends what is kept for a repository and forgets what was read: it is going to lose objects. */
  async drop(repository: string): Promise<void> {
    this.#cache.forget(repository)
    const kept = this.#kept.get(repository)
    this.#kept.delete(repository)
    await kept?.then(
      (process) => process.close(),
      () => {},
    )
  }

  async close(): Promise<void> {
    this.#closed = true
    await Promise.all([...this.#kept.keys()].map((repository) => this.drop(repository)))
  }

  async #ask(
    repository: string,
    name: string,
    contents: boolean,
    maxBytes: number,
  ): Promise<GitObject | ObjectInfo | undefined> {
    if (!NAME.test(name))
      throw new MeshError('E_BAD_REQUEST', 'Cannot read an object: that is neither an id nor an id and a path')
    for (let ended = 0, spoilt = 0; ; ) {
      const process = await this.#process(repository)
      const answer = await process.ask(name, contents, maxBytes)
      if (answer !== 'ended' && answer !== 'spoilt') return answer
      // it may have ended of age just then
      if (answer === 'ended' && ++ended === 2) throw damagedHere('Git ended while it was read')
      if (answer === 'spoilt' && ++spoilt === MAX_SPOILT)
        throw new MeshError('E_OVERLOADED', 'Cannot read an object now: others ask for too much', { retryAfterMs: 100 })
    }
  }

  async #process(repository: string): Promise<KeptProcess> {
    if (this.#closed) throw new MeshError('E_STOPPING', 'Cannot read an object: the daemon is shutting down')
    const known = this.#kept.get(repository)
    const started = known ?? this.#start(repository)
    this.#kept.delete(repository)
    this.#kept.set(repository, started)
    if (known === undefined && this.#kept.size > this.#limit) this.#evict()
    return started
  }

  #start(repository: string): Promise<KeptProcess> {
    const forget = (): void => {
      if (this.#kept.get(repository) === started) this.#kept.delete(repository)
    }
    const started = spawnGit({
      args: ['cat-file', '--batch-command', '-z'],
      repository,
      foreign: this.#foreign,
      limits: { wallMs: LIFE_MS, cpuSeconds: LIFE_MS / 1000 },
    }).then((child) => new KeptProcess(child, this.#idleMs, forget))
    started.catch(forget)
    return started
  }

  /** The least recently asked one ends after what it was asked. */
  #evict(): void {
    const oldest = this.#kept.entries().next()
    if (oldest.done) return
    const [repository, kept] = oldest.value
    this.#kept.delete(repository)
    kept.then((process) => process.finish()).catch(() => {})
  }
}

class KeptProcess {
  readonly #child: GitChild
  readonly #idleMs: number
  readonly #asked: Question[] = []
  #chunks: Buffer[] = []
  #bytes = 0
  /** Bytes that are needed before looking again */
  #wanted = 1
  #timer: NodeJS.Timeout
  #ended = false
  #spoilt = false

  constructor(child: GitChild, idleMs: number, onEnd: () => void) {
    this.#child = child
    this.#idleMs = idleMs
    this.#timer = setTimeout(() => this.finish(), idleMs)
    child.stdout.on('data', (chunk: Buffer) => this.#take(chunk))
    void child.ended.then(() => {
      this.#ended = true
      clearTimeout(this.#timer)
      onEnd()
      for (const { reject } of this.#asked.splice(0)) reject(ENDED)
    })
  }

  /** @returns 'spoilt' when it ended because of another question */
  async ask(
    name: string,
    contents: boolean,
    maxBytes: number,
  ): Promise<GitObject | ObjectInfo | undefined | 'ended' | 'spoilt'> {
    if (this.#ended) return this.#spoilt ? 'spoilt' : 'ended'
    if (this.#asked.length >= MAX_ASKED)
      throw new MeshError('E_OVERLOADED', 'Cannot read an object now: too much waits', { retryAfterMs: 100 })
    const { promise, resolve, reject } = Promise.withResolvers<GitObject | ObjectInfo | undefined>()
    this.#asked.push({ line: name, contents, maxBytes, resolve, reject })
    if (this.#asked.length === 1) this.#watch()
    this.#child.stdin.write(`${contents ? 'contents' : 'info'} ${name}\0`)
    try {
      return await promise
    } catch (error) {
      if (error === ENDED) return this.#spoilt ? 'spoilt' : 'ended'
      throw error
    }
  }

  /** Ends once everything that was asked is answered. */
  finish(): void {
    this.#child.stdin.end()
  }

  async close(): Promise<void> {
    this.#child.kill()
    await this.#child.ended
  }

  #watch(): void {
    clearTimeout(this.#timer)
    const idle = this.#asked.length === 0
    this.#timer = setTimeout(() => (idle ? this.finish() : this.#child.kill()), idle ? this.#idleMs : ANSWER_MS)
  }

  #take(chunk: Buffer): void {
    // What still comes from one that is being killed begins with an answer that was refused already
    if (this.#spoilt) return
    this.#chunks.push(chunk)
    this.#bytes += chunk.length
    if (this.#bytes < this.#wanted) return
    let held = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks)
    for (;;) {
      const used = this.#answer(held)
      if (used === 0) break
      held = held.subarray(used)
    }
    this.#chunks = held.length === 0 ? [] : [held]
    this.#bytes = held.length
  }

  /** @returns bytes of `held` that were used up; 0: more are needed */
  #answer(held: Buffer): number {
    const question = this.#asked[0]
    this.#wanted = 1
    if (question === undefined || held.length === 0) return 0
    const end = held.indexOf(0x0a)
    if (end < 0) {
      if (held.length > MAX_HEADER) this.#child.kill()
      return 0
    }
    const header = held.toString('utf8', 0, end)
    if (header === `${question.line} missing`) return this.#done(end + 1, () => question.resolve(undefined))
    const info = parseHeader(header)
    if (info === undefined || (isObjectId(question.line) && info.oid !== question.line))
      return this.#fault(new Error(`git cat-file said ${header.slice(0, 200)}`))
    if (!question.contents) return this.#done(end + 1, () => question.resolve(info))
    if (info.size > question.maxBytes) {
      return this.#fault(
        new MeshError(
          'E_TOO_LARGE',
          `Cannot read an object: it has ${info.size} bytes, at most ${question.maxBytes} are wanted`,
        ),
      )
    }
    const total = end + 1 + info.size + 1
    if (held.length < total) {
      this.#wanted = total
      return 0
    }
    const content = new Uint8Array(held.subarray(end + 1, total - 1))
    return this.#done(total, () => question.resolve({ oid: info.oid, type: info.type, content }))
  }

  #done(used: number, tell: () => void): number {
    this.#asked.shift()
    this.#watch()
    tell()
    return used
  }

  /** What follows cannot be told apart any more: this one is answered, the others ask again. */
  #fault(error: Error): number {
    this.#spoilt = true
    this.#asked.shift()?.reject(error)
    this.#child.kill()
    return 0
  }
}

/** What should be in a repository and cannot be read. */
export function damagedHere(why: string): MeshError {
  return new MeshError('E_STORAGE', `Cannot read an object: ${why}; the repository may be damaged`, {
    hint: 'Look with `manyhands artifact verify`. `artifact rm` and then `artifact clone manyhands://<id>` take a sound copy from another holder.',
  })
}

const ENDED = new Error('git cat-file ended')

function parseHeader(header: string): ObjectInfo | undefined {
  const [oid, type, size, ...more] = header.split(' ')
  if (!isObjectId(oid) || more.length > 0 || size === undefined || !/^\d{1,15}$/.test(size)) return undefined
  if (type !== 'blob' && type !== 'tree' && type !== 'commit' && type !== 'tag') return undefined
  return { oid, type, size: Number(size) }
}
