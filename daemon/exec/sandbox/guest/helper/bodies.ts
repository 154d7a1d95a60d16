/** Bodies of the frames of `wire.ts`: written for the helper, and read from it, where everything may be wrong. */
import { MeshError } from '../../../../../protocol/errors.ts'
import { LIMITS } from '../../../../../protocol/limits.ts'
import { fileTime } from '../file-time.ts'
import type { BackgroundView, FileChange, FileEntry, FileStat, FileType, TerminalSize } from '../guest-connection.ts'
import { GuestProtocolError } from './wire.ts'

const STAT_BYTES = 26

const wrong = (what: string): GuestProtocolError => new GuestProtocolError(`${what} has not the shape it should have`)

export function badRequest(message: string, hint?: string): MeshError {
  return new MeshError('E_BAD_REQUEST', message, hint === undefined ? {} : { hint })
}

/** A text as the helper takes it. @throws MeshError E_BAD_REQUEST when it holds a zero */
function zeroEnded(text: string, what: string): Buffer {
  if (text.includes('\0')) throw badRequest(`Cannot use ${what}: it holds a zero character`)
  return Buffer.from(`${text}\0`)
}

export interface ExecBody {
  readonly credit: number
  readonly size: TerminalSize | undefined
  readonly name: string
  readonly cwd: string
  readonly argv: readonly string[]
  readonly env: Readonly<Record<string, string>>
}

/** @throws MeshError E_BAD_REQUEST, E_TOO_LARGE */
export function encodeExec(exec: ExecBody): Buffer {
  if (exec.argv.length === 0 || exec.argv[0] === '') throw badRequest('Cannot run a command: argv names no program')
  const variables = Object.entries(exec.env).map(([key, value]) => {
    if (key === '' || key.includes('=')) throw badRequest(`Cannot set the variable "${key}": that is not a name`)
    return zeroEnded(`${key}=${value}`, `the variable ${key}`)
  })
  const texts = [
    zeroEnded(exec.name, 'the name'),
    zeroEnded(exec.cwd, 'the folder'),
    ...exec.argv.map((argument) => zeroEnded(argument, 'an argument')),
    ...variables,
  ]
  const bytes = texts.reduce((sum, text) => sum + text.length, 0)
  if (bytes > LIMITS.guestArgBytes || texts.length > 4000) {
    throw new MeshError(
      'E_TOO_LARGE',
      `Cannot run a command: its arguments and variables have ${bytes} bytes, the limit is ${LIMITS.guestArgBytes}`,
      { hint: 'Write them to a file, or send them as input' },
    )
  }
  const head = Buffer.alloc(12)
  head.writeUInt32LE(exec.credit, 0)
  head.writeUInt16LE(clampSize(exec.size?.columns ?? 80), 4)
  head.writeUInt16LE(clampSize(exec.size?.rows ?? 24), 6)
  head.writeUInt16LE(exec.argv.length, 8)
  head.writeUInt16LE(variables.length, 10)
  return Buffer.concat([head, ...texts])
}

export const clampSize = (cells: number): number => Math.max(1, Math.min(0xffff, Math.trunc(cells) || 1))

export interface FileBody {
  readonly credit?: number
  readonly mode?: number
  readonly offset?: number
  readonly path: string
  readonly second?: string
  readonly content?: Uint8Array
}

/** @throws MeshError E_BAD_REQUEST for a path that is no absolute path without `..` */
export function encodeFile(file: FileBody): Buffer {
  const head = Buffer.alloc(16)
  head.writeUInt32LE(file.credit ?? 0, 0)
  head.writeUInt32LE(file.mode ?? 0, 4)
  head.writeBigUInt64LE(BigInt(file.offset ?? 0), 8)
  const second = file.second === undefined ? [] : [checkPath(file.second)]
  return Buffer.concat([head, checkPath(file.path), ...second, ...(file.content === undefined ? [] : [file.content])])
}

function checkPath(path: string): Buffer {
  if (!path.startsWith('/')) throw badRequest(`Cannot use the path "${path}": it must be absolute`)
  if (path.split('/').includes('..')) {
    throw new MeshError('E_SYMLINK', `Cannot use the path "${path}": it holds ".."`, {
      hint: 'Name the file by its real path',
    })
  }
  const bytes = zeroEnded(path, 'the path')
  if (bytes.length > LIMITS.guestPathBytes + 1) throw badRequest('Cannot use the path: it is too long')
  return bytes
}

const TYPES: Readonly<Record<number, FileType>> = { 0o10: 'file', 0o04: 'folder', 0o12: 'symlink' }

export function decodeStat(body: Buffer, at = 0): FileStat {
  if (body.length - at < STAT_BYTES) throw wrong('a stat')
  const mode = body.readUInt16LE(at)
  return {
    type: TYPES[mode >> 12] ?? 'other',
    mode: mode & 0o7777,
    bytes: Number(body.readBigUInt64LE(at + 2)),
    modifiedMs: fileTime(Number(body.readBigInt64LE(at + 10))),
    uid: body.readUInt32LE(at + 18),
    gid: body.readUInt32LE(at + 22),
  }
}

/** A name of a folder's entry: never a path, whatever the guest says. */
function decodeName(body: Buffer, at: number, length: number): string {
  if (body.length - at < length) throw wrong('a name')
  const name = body.toString('utf8', at, at + length)
  if (name.includes('/') || name.includes('\0') || name === '.' || name === '..') throw wrong('a name')
  return name
}

export function decodeEntries(body: Buffer): FileEntry[] {
  const entries: FileEntry[] = []
  for (let at = 0; at < body.length; ) {
    const stat = decodeStat(body, at)
    if (body.length - at < STAT_BYTES + 2) throw wrong('an entry')
    const length = body.readUInt16LE(at + STAT_BYTES)
    const name = decodeName(body, at + STAT_BYTES + 2, length)
    if (name === '') throw wrong('an entry')
    entries.push({ name, ...stat })
    at += STAT_BYTES + 2 + length
  }
  return entries
}

const KINDS: Readonly<Record<number, FileChange['kind']>> = { 1: 'created', 2: 'changed', 3: 'removed' }

export function decodeChanges(body: Buffer): FileChange[] {
  const changes: FileChange[] = []
  for (let at = 0; at < body.length; ) {
    const kind = KINDS[body.readUInt8(at)]
    if (kind === undefined || body.length - at < 3) throw wrong('a change')
    const length = body.readUInt16LE(at + 1)
    changes.push({ kind, name: decodeName(body, at + 3, length) })
    at += 3 + length
  }
  return changes
}

export function decodeJob(body: Buffer): BackgroundView {
  if (body.length < 17) throw wrong('a process')
  return {
    id: body.readUInt32LE(0),
    pid: body.readUInt32LE(4),
    running: body.readUInt8(8) === 1,
    outputBytes: Number(body.readBigUInt64LE(9)),
    name: body.toString('utf8', 17),
  }
}

export interface Hello {
  readonly version: number
  readonly channels: number
  readonly credit: number
  readonly lastChannel: number
}

export function decodeHello(body: Buffer): Hello {
  if (body.length !== 16) throw wrong('the greeting')
  return {
    version: body.readUInt16LE(0),
    channels: body.readUInt16LE(2),
    credit: body.readUInt32LE(4),
    lastChannel: body.readUInt32LE(8),
  }
}

export function decodeNumber(body: Buffer): number {
  if (body.length !== 4) throw wrong('a number')
  return body.readUInt32LE(0)
}
