/** Files of a sandbox. Paths are absolute or relative to the workspace; a symbolic link anywhere in a path is refused (E_SYMLINK), and so is `..`. */
import type { FileEntry, FileRequest, WatchEvent } from '../../protocol/api.ts'
import { type BoxSource, BoxStream } from './box-stream.ts'
import type { Client } from './client.ts'
import { ManyhandsError, protocolError } from './errors.ts'
import { LIMITS } from './limits.ts'
import type { BoxTarget } from './sandbox-process.ts'
import { watchEvent } from './sandbox-replies.ts'
import { decodeText } from './shape.ts'

export interface FileOptions {
  readonly signal?: AbortSignal | undefined
}

export interface ReadOptions extends FileOptions {
  /** A larger file is refused with E_TOO_LARGE. @default 64 MiB; a stream has no limit */
  readonly maxBytes?: number | undefined
}

export interface WriteOptions extends FileOptions {
  /** Permission bits. @default those of the file before, else 0o644 */
  readonly mode?: number | undefined
}

const READ_BYTES = 64 << 20

export class SandboxFiles {
  readonly #client: Client
  readonly #target: BoxTarget

  constructor(client: Client, target: BoxTarget) {
    this.#client = client
    this.#target = target
  }

  /** @throws ManyhandsError E_NOT_FOUND, E_TOO_LARGE, E_SYMLINK */
  async read(path: string, options: ReadOptions = {}): Promise<Uint8Array> {
    const maxBytes = options.maxBytes ?? READ_BYTES
    const parts: Uint8Array[] = []
    let size = 0
    for await (const part of this.stream(path, options)) {
      size += part.length
      if (size > maxBytes) {
        throw new ManyhandsError('E_TOO_LARGE', `Cannot read ${path}: it has more than ${maxBytes} bytes`, {
          hint: 'Read it as a stream, or raise maxBytes',
        })
      }
      parts.push(part)
    }
    return joined(parts, size)
  }

  async readText(path: string, options: ReadOptions = {}): Promise<string> {
    return new TextDecoder().decode(await this.read(path, options))
  }

  /** Flat memory whatever the size. */
  async *stream(path: string, options: FileOptions = {}): AsyncGenerator<Uint8Array, void, undefined> {
    const { sandbox, duplex } = this.#target
    const box = new BoxStream(await duplex(options.signal), { op: 'read', sandbox, path }, options.signal)
    for await (const { bytes } of box.output()) yield bytes
    await box.done
  }

  /** Replaces the file in one step: readers see the old content or the new. Missing folders are made. A source that throws leaves the file as it was. */
  async write(path: string, content: BoxSource, options: WriteOptions = {}): Promise<void> {
    const { sandbox, duplex } = this.#target
    const { mode, signal } = options
    const open = { op: 'write' as const, sandbox, path, ...(mode === undefined ? {} : { mode }) }
    const box = new BoxStream(await duplex(signal), open, signal)
    void box.pump(content)
    await box.done
  }

  /** What is in a folder. */
  list(path = '.', options: FileOptions = {}): Promise<readonly FileEntry[]> {
    return this.#do({ op: 'list', path }, options)
  }

  /** Of the link itself, if the last part is one. @throws ManyhandsError E_NOT_FOUND */
  async stat(path: string, options: FileOptions = {}): Promise<FileEntry> {
    const [entry] = await this.#do({ op: 'stat', path }, options)
    if (entry) return entry
    throw new ManyhandsError('E_NOT_FOUND', `Cannot find ${path} in the sandbox`, {
      hint: 'List the folder to see what is there',
    })
  }

  /** With missing parents; an existing folder is fine. */
  async mkdir(path: string, options: FileOptions = {}): Promise<void> {
    await this.#do({ op: 'mkdir', path }, options)
  }

  async move(from: string, to: string, options: FileOptions = {}): Promise<void> {
    await this.#do({ op: 'move', path: from, to }, options)
  }

  /** @param options.recursive with everything in it. @default false */
  async remove(path: string, options: FileOptions & { readonly recursive?: boolean | undefined } = {}): Promise<void> {
    const { recursive } = options
    await this.#do({ op: 'remove', path, ...(recursive === undefined ? {} : { recursive }) }, options)
  }

  /** Changes directly in a folder, until the loop is left or the signal aborts. Under a flood, changes of one name are told once. */
  async *watch(path = '.', options: FileOptions = {}): AsyncGenerator<WatchEvent, void, undefined> {
    const { sandbox, duplex } = this.#target
    const box = new BoxStream(await duplex(options.signal), { op: 'watch', sandbox, path }, options.signal)
    for await (const line of lines(box)) yield decodeText(watchEvent, line, 'a change of a file')
  }

  async #do(body: FileRequest, { signal }: FileOptions): Promise<readonly FileEntry[]> {
    const params = { id: this.#target.sandbox }
    return (await this.#client.call('POST /v0/sandboxes/:id/files', { params, body, signal })).entries
  }
}

/** Lane 1 as lines. @throws ManyhandsError E_PROTOCOL when one does not end */
export async function* lines(box: BoxStream): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder()
  let held = ''
  for await (const { bytes } of box.output()) {
    const parts = (held + decoder.decode(bytes, { stream: true })).split('\n')
    held = parts.pop() ?? ''
    yield* parts
    if (held.length > LIMITS.lineChars) throw protocolError(`Cannot read a line: it is longer than ${LIMITS.lineChars}`)
  }
  if (held !== '') yield held
}

function joined(parts: readonly Uint8Array[], size: number): Uint8Array {
  const all = new Uint8Array(size)
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}
