/** Reads what the user names by path, or "-" for standard input. Bounded; Ctrl-C ends it, as standard input need not end by itself. */
import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { ManyhandsError } from '../../sdk/src/index.ts'
import type { Context } from './context.ts'

/** JSON text of one input; the daemon takes as much. */
const MAX_BYTES = 8 << 20
const MAX_LINES = 1_000_000

/** Whose standard input it is, and what ends the reading. */
type Reader = Pick<Context, 'output' | 'signal'>

/** Standard input as it comes. To be iterated once. */
export function standardInput({ output, signal }: Reader): AsyncIterable<Uint8Array> {
  return untilAborted(output.io.stdin, signal)
}

/** The bytes of a file, which is there and may be read when this resolves. To be iterated once. @throws ManyhandsError E_NOT_FOUND */
export async function openFile(path: string): Promise<AsyncIterable<Uint8Array>> {
  const file = await open(path).catch((error: unknown) => {
    throw unreadable(path, error)
  })
  if (!(await file.stat()).isDirectory()) return file.createReadStream()
  await file.close()
  throw new ManyhandsError('E_NOT_FOUND', `Cannot read ${path}: it is a folder`)
}

/** @throws ManyhandsError E_NOT_FOUND, E_TOO_LARGE */
export async function readText(path: string, reader: Reader, maxBytes = MAX_BYTES): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of chunksOf(path, reader)) {
    size += chunk.length
    if (size > maxBytes) throw tooLarge(path, maxBytes)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** @throws ManyhandsError E_BAD_REQUEST when it is not JSON */
export async function readJson(path: string, reader: Reader): Promise<unknown> {
  return parseJson(await readText(path, reader), path === '-' ? 'standard input' : path)
}

/** @param where for the message */
export function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    const detail = error instanceof Error ? error.message : ''
    throw new ManyhandsError('E_BAD_REQUEST', `Cannot read ${where}: it is not JSON (${detail})`, {
      hint: 'A text in JSON stands in double quotes, in a shell: \'"text"\'',
      cause: error,
    })
  }
}

/** One JSON value a line; empty lines are skipped. Pulled: lines are read as they are needed. */
export async function* readJsonLines(path: string, reader: Reader): AsyncGenerator<unknown> {
  let number = 0
  for await (const line of linesOf(chunksOf(path, reader), path)) {
    number++
    if (number > MAX_LINES) throw new ManyhandsError('E_TOO_LARGE', `Cannot map ${path}: more than ${MAX_LINES} inputs`)
    if (line.trim() !== '') yield parseJson(line, `line ${number} of ${path === '-' ? 'standard input' : path}`)
  }
}

async function* linesOf(chunks: AsyncIterable<Buffer>, path: string): AsyncGenerator<string> {
  let held: Buffer[] = []
  let size = 0
  for await (const chunk of chunks) {
    let start = 0
    for (let end = chunk.indexOf(10, start); end >= 0; end = chunk.indexOf(10, start)) {
      held.push(chunk.subarray(start, end))
      yield Buffer.concat(held).toString('utf8')
      held = []
      size = 0
      start = end + 1
    }
    size += chunk.length - start
    if (size > MAX_BYTES) throw tooLarge(path, MAX_BYTES)
    held.push(chunk.subarray(start))
  }
  if (size > 0) yield Buffer.concat(held).toString('utf8')
}

async function* chunksOf(path: string, { output, signal }: Reader): AsyncGenerator<Buffer> {
  try {
    yield* untilAborted(path === '-' ? output.io.stdin : createReadStream(path), signal)
  } catch (error) {
    throw unreadable(path, error)
  }
}

/** @throws the signal's reason */
async function* untilAborted(stream: Readable, signal: AbortSignal): AsyncGenerator<Buffer> {
  signal.throwIfAborted()
  const stop = (): void => void stream.destroy(new Error('The signal ended the reading'))
  signal.addEventListener('abort', stop, { once: true })
  try {
    for await (const chunk of stream) yield Buffer.from(chunk as Buffer | string)
  } catch (error) {
    signal.throwIfAborted()
    throw error
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

/** What the file system says of a file that the user named, in words; anything else as it is. */
export function unreadable(path: string, error: unknown): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (code !== 'ENOENT' && code !== 'EACCES' && code !== 'EISDIR') return error
  const why = code === 'ENOENT' ? 'there is no such file' : code === 'EACCES' ? 'permission denied' : 'it is a folder'
  return new ManyhandsError('E_NOT_FOUND', `Cannot read ${path}: ${why}`, { cause: error })
}

function tooLarge(path: string, maxBytes: number): ManyhandsError {
  return new ManyhandsError('E_TOO_LARGE', `Cannot read ${path}: more than ${maxBytes} bytes in one piece`)
}
