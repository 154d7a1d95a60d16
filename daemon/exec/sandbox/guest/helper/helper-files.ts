import { MeshError } from '../../../../../protocol/errors.ts'
import { LIMITS } from '../../../../../protocol/limits.ts'
import { ByteQueue, collectBytes, keepBytes, PLAIN_PIECES } from '../byte-queue.ts'
import { errnoError } from '../errno.ts'
import type { FileChange, FileEntry, FileStat, GuestFiles } from '../guest-connection.ts'
import { decodeChanges, decodeEntries, decodeStat, encodeFile, type FileBody } from './bodies.ts'
import { type Channel, type ChannelEnd, type Link, lostError } from './link.ts'
import { END_HOW, FILE_OPS, INLINE_CONTENT, TO_GUEST } from './wire.ts'

/** Content up to this travels in the frame that asks for the write: one round trip. */
const INLINE_BYTES = 64 << 10

interface Hooks {
  readonly inPieces?: boolean
  onOpened?(body: Buffer): void
  onOut?(body: Buffer): void
}

interface Operation {
  readonly channel: Channel
  /** @throws MeshError for what the guest answered, and E_CANCELED */
  readonly done: Promise<void>
}

export class HelperFiles implements GuestFiles {
  readonly #link: Link

  constructor(link: Link) {
    this.#link = link
  }

  async read(path: string, options: { maxBytes?: number; signal?: AbortSignal } = {}): Promise<Uint8Array> {
    const maxBytes = options.maxBytes ?? LIMITS.guestFileBytes
    const doing = `Cannot read "${path}"`
    const parts: Uint8Array[] = []
    let have = 0
    let tooLarge: MeshError | undefined
    const refuse = (bytes: number): void => {
      tooLarge ??= new MeshError('E_TOO_LARGE', `${doing}: it has ${bytes} bytes, the limit is ${maxBytes}`, {
        hint: 'Stream it instead',
      })
      operation.channel.close()
    }
    const hooks: Hooks = {
      inPieces: true,
      onOpened(body) {
        const { bytes } = decodeStat(body)
        if (bytes > maxBytes) refuse(bytes)
      },
      onOut(body) {
        have += body.length
        if (have > maxBytes) return refuse(have)
        collectBytes(parts, body)
        operation.channel.took(body.length)
      },
    }
    const operation = this.#run(doing, FILE_OPS.read, { path, credit: LIMITS.guestWindowBytes }, hooks, options.signal)
    await operation.done.catch((error: unknown) => {
      throw tooLarge ?? error
    })
    return parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts, have)
  }

  async *readStream(
    path: string,
    options: { offset?: number; signal?: AbortSignal } = {},
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const offset = options.offset ?? 0
    if (!Number.isSafeInteger(offset) || offset < 0) {
      throw new MeshError('E_BAD_REQUEST', `Cannot read from offset ${offset}: it must be a whole number from 0`)
    }
    const body = { path, offset, credit: LIMITS.guestWindowBytes }
    yield* this.#stream(`Cannot read "${path}"`, FILE_OPS.read, body, options.signal)
  }

  async write(
    path: string,
    content: Uint8Array | string | AsyncIterable<Uint8Array>,
    options: { mode?: number; signal?: AbortSignal } = {},
  ): Promise<void> {
    const bytes = typeof content === 'string' ? Buffer.from(content) : content
    const doing = `Cannot write "${path}"`
    const body = { path, mode: checkMode(options.mode) }
    if (bytes instanceof Uint8Array && bytes.length <= INLINE_BYTES) {
      return this.#run(doing, FILE_OPS.write | INLINE_CONTENT, { ...body, content: bytes }, {}, options.signal).done
    }
    const operation = this.#run(doing, FILE_OPS.write, body, {}, options.signal)
    const failed = operation.done.catch(() => {})
    try {
      if (bytes instanceof Uint8Array) await operation.channel.write(bytes)
      else await this.#pass(bytes, operation.channel, failed)
      operation.channel.send(TO_GUEST.data, 1)
    } catch (error) {
      // the source failed: nothing of it may be taken for the file
      operation.channel.close()
      await failed
      throw error
    }
    return operation.done
  }

  /** Until one of them ends: a source may have nothing to give for long. @param over never rejects */
  async #pass(source: AsyncIterable<Uint8Array>, channel: Channel, over: Promise<void>): Promise<void> {
    const parts = source[Symbol.asyncIterator]()
    let left = (): void => {}
    void over.then(() => left())
    for (;;) {
      // A new promise each time: raced with one that lasts, every part would leave something behind with that
      const next = await new Promise<IteratorResult<Uint8Array> | undefined>((resolve, reject) => {
        left = () => resolve(undefined)
        parts.next().then(resolve, reject)
      })
      if (next?.done === true) return
      if (next === undefined || !(await channel.write(next.value))) break
    }
    // It may be in the middle of its next part, so nobody waits for it
    parts.return?.().catch(() => undefined)
  }

  async list(path: string, options: { maxEntries?: number } = {}): Promise<readonly FileEntry[]> {
    const most = Math.min(options.maxEntries ?? LIMITS.guestEntries, LIMITS.guestEntries)
    const doing = `Cannot list "${path}"`
    const entries: FileEntry[] = []
    let tooMany = false
    const hooks: Hooks = {
      onOut(body) {
        entries.push(...decodeEntries(body))
        tooMany = entries.length > most
        if (tooMany) operation.channel.close()
        else operation.channel.took(body.length)
      },
    }
    const operation = this.#run(doing, FILE_OPS.list, { path, credit: LIMITS.guestWindowBytes }, hooks)
    await operation.done.catch((error: unknown) => {
      if (!tooMany) throw error
      throw new MeshError('E_TOO_LARGE', `${doing}: it has more than ${most} entries`)
    })
    return entries.sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  async stat(path: string): Promise<FileStat> {
    let stat: FileStat | undefined
    const hooks: Hooks = {
      onOpened(body) {
        stat = decodeStat(body)
      },
    }
    await this.#run(`Cannot look at "${path}"`, FILE_OPS.stat, { path }, hooks).done
    if (stat === undefined)
      throw new MeshError('E_PROTOCOL', `Cannot look at "${path}": the sandbox said nothing of it`)
    return stat
  }

  mkdir(path: string): Promise<void> {
    return this.#run(`Cannot make the folder "${path}"`, FILE_OPS.mkdir, { path }, {}).done
  }

  move(from: string, to: string): Promise<void> {
    return this.#run(`Cannot move "${from}" to "${to}"`, FILE_OPS.move, { path: from, second: to }, {}).done
  }

  remove(path: string, options: { recursive?: boolean } = {}): Promise<void> {
    const op = options.recursive === true ? FILE_OPS.removeAll : FILE_OPS.remove
    return this.#run(`Cannot remove "${path}"`, op, { path }, {}).done
  }

  async *watch(path: string, options: { signal?: AbortSignal } = {}): AsyncGenerator<FileChange, void, undefined> {
    const body = { path, credit: LIMITS.guestWindowBytes }
    const { signal } = options
    const changes = this.#stream(`Cannot watch "${path}"`, FILE_OPS.watch, body, signal)
    try {
      for await (const batch of changes) yield* summarise(decodeChanges(Buffer.from(batch)))
    } catch (error) {
      if (signal?.aborted !== true) throw error
    }
  }

  #run(doing: string, op: number, body: FileBody, hooks: Hooks, signal?: AbortSignal): Operation {
    let settle = (_end: ChannelEnd): void => {}
    const done = new Promise<void>((resolve, reject) => {
      settle = (end) => {
        const error = signal?.aborted === true ? canceled(doing) : operationError(end, doing)
        if (error === undefined) resolve()
        else reject(error)
      }
    })
    const handler = {
      inPieces: hooks.inPieces === true,
      onOpened: (bytes: Buffer) => hooks.onOpened?.(bytes),
      onOut: (_fd: number, bytes: Buffer) => hooks.onOut?.(bytes),
      onEnd: (end: ChannelEnd) => {
        signal?.removeEventListener('abort', abort)
        settle(end)
      },
    }
    if (signal?.aborted === true) throw canceled(doing)
    const abort = (): void => channel.close()
    const channel = this.#link.open(TO_GUEST.file, op, encodeFile(body), handler, body.credit ?? 0)
    signal?.addEventListener('abort', abort, { once: true })
    return { channel, done }
  }

  async *#stream(
    doing: string,
    op: number,
    body: FileBody,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const queue = new ByteQueue<Uint8Array>(
      PLAIN_PIECES,
      (bytes) => operation.channel.took(bytes),
      () => operation.channel.close(),
    )
    // Changes are told in whole frames
    const hooks: Hooks = { inPieces: op === FILE_OPS.read, onOut: (bytes) => queue.push(keepBytes(bytes)) }
    const operation = this.#run(doing, op, body, hooks, signal)
    operation.done.then(
      () => queue.end(),
      (error: unknown) => queue.end(error instanceof Error ? error : new Error(String(error))),
    )
    yield* queue
  }
}

function canceled(doing: string): MeshError {
  return new MeshError('E_CANCELED', `${doing}: it was canceled`)
}

function operationError(end: ChannelEnd, doing: string): MeshError | undefined {
  if (end.how === END_HOW.done) return undefined
  if (end.how === END_HOW.failed) return errnoError(end.number, doing)
  if (end.how === END_HOW.full)
    return new MeshError('E_OVERLOADED', `${doing}: the agent in the sandbox has too much open`)
  return lostError(end.error)
}

/** @throws MeshError E_BAD_REQUEST */
function checkMode(mode: number | undefined): number {
  if (mode === undefined) return 0
  if (Number.isInteger(mode) && mode > 0 && mode <= 0o777) return mode
  throw new MeshError('E_BAD_REQUEST', `Cannot set the mode ${mode}: it must be permission bits, 0o001 to 0o777`)
}

/** Of one reading of the kernel: writing a file tells of it many times. */
function summarise(changes: readonly FileChange[]): FileChange[] {
  return changes.filter((change, index) => {
    const before = changes[index - 1]
    return before === undefined || before.kind !== change.kind || before.name !== change.name
  })
}
