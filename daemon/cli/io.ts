/** The outside of the CLI: stdout for the answer, stderr for all else. Tests give their own. */
import type { Readable, Writable } from 'node:stream'
import { EXIT_UNREAD } from './exit.ts'
import { safeJson, safeText } from './terminal.ts'

export interface Tty {
  size(): { readonly columns: number; readonly rows: number }
  /** Keys go on as they are typed, Ctrl-C too. Off: as before */
  raw(on: boolean): void
  /** Told each new size. @returns stops it */
  onResize(listener: () => void): () => void
}

export interface Io {
  readonly stdin: Readable
  /** Resolves once the text was taken, so that a slow reader slows the sender. Rejects with E_STORAGE when it cannot be written, with ReaderGone when nobody reads. */
  readonly writeOut: (text: string) => Promise<void>
  readonly writeErr: (text: string) => void
  /** Terminal columns of stdout; undefined when it is no terminal */
  readonly columns: number | undefined
  /** Whether stderr is a terminal */
  readonly interactive: boolean
  /** Bytes as they are; resolves once they were taken, rejects as `writeOut` does */
  readonly writeBytes: (stream: 'stdout' | 'stderr', bytes: Uint8Array) => Promise<void>
  /** The terminal of the user, for a terminal inside; undefined when standard input or output is none */
  readonly tty: Tty | undefined
  readonly env: Readonly<Record<string, string | undefined>>
}

export function processIo(): Io {
  // A write that fails is told to who wrote; without a listener it would end the process as well
  process.stdout.on('error', () => undefined)
  process.stderr.on('error', endIfUnread)
  return {
    stdin: process.stdin,
    writeOut: (text) => writeTo(process.stdout, text),
    writeErr: (text) => {
      process.stderr.write(text)
    },
    columns: process.stdout.isTTY ? process.stdout.columns : undefined,
    interactive: process.stderr.isTTY,
    writeBytes: (stream, bytes) => writeTo(process[stream], bytes),
    tty: process.stdin.isTTY && process.stdout.isTTY ? processTty() : undefined,
    env: process.env,
  }
}

/** Why a command ends whose reader left (`| head`): quietly, as by SIGPIPE, once it has ended what it began. */
export class ReaderGone extends Error {
  override readonly name = 'ReaderGone'
}

/** @throws ManyhandsError E_STORAGE, ReaderGone */
async function writeTo(stream: Writable, data: string | Uint8Array): Promise<void> {
  const error = await new Promise<Error | null | undefined>((resolve) => void stream.write(data, resolve))
  if (!error) return
  if (stream === process.stderr) endIfUnread(error)
  if (isUnread(error)) throw new ReaderGone('nobody reads the output')
  const { ManyhandsError } = await import('../../sdk/src/index.ts')
  // "ENOSPC: no space left on device, write"
  const why = error.message.replace(/^E[A-Z]+: |, write$/g, '')
  throw new ManyhandsError('E_STORAGE', `Cannot write the output: ${why}`, { cause: error })
}

/** Notes are written by whoever has no use for an answer: nobody would hear of it. */
function endIfUnread(error: Error): void {
  if (isUnread(error)) process.exit(EXIT_UNREAD)
}

function isUnread(error: Error): boolean {
  return 'code' in error && error.code === 'EPIPE'
}

function processTty(): Tty {
  return {
    // a terminal that does not know its size says 0
    size: () => ({ columns: process.stdout.columns || 80, rows: process.stdout.rows || 24 }),
    raw: (on) => void process.stdin.setRawMode(on),
    onResize(listener) {
      process.stdout.on('resize', listener)
      return () => process.stdout.off('resize', listener)
    },
  }
}

/** What commands print by. */
export class Output {
  readonly io: Io
  readonly json: boolean

  constructor(io: Io, json: boolean) {
    this.io = io
    this.json = json
  }

  /** The answer: as one line of JSON, or as text for people. */
  async answer(value: unknown, text: () => string): Promise<void> {
    if (this.json) await this.jsonLine(value)
    else await this.line(text())
  }

  async jsonLine(value: unknown): Promise<void> {
    await this.io.writeOut(`${this.io.columns === undefined ? JSON.stringify(value) : safeJson(value)}\n`)
  }

  /** Text of our own; what came from elsewhere must be made safe before. */
  async line(text: string): Promise<void> {
    await this.io.writeOut(`${text}\n`)
  }

  /** Exactly these bytes, for a pipe. */
  async bytes(bytes: Uint8Array): Promise<void> {
    await this.io.writeBytes('stdout', bytes)
  }

  /** A value of a program: exact into a pipe, safe on a terminal. */
  async value(value: unknown): Promise<void> {
    const terminal = this.io.columns !== undefined
    if (typeof value === 'string') return this.line(terminal ? safeText(value) : value)
    await this.line(terminal ? safeJson(value, 2) : JSON.stringify(value))
  }

  /** Beside the answer. */
  note(text: string): void {
    this.io.writeErr(`${text}\n`)
  }
}
