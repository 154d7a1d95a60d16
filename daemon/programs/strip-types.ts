/**
 * TypeScript to JavaScript, without looking at other files. Types are replaced by blanks, so that every position of an error stays true for the
 * author. Syntax that needs code of its own (enum, namespace, parameter properties) goes through a transformer instead, and positions may move.
 */
import { createRequire, stripTypeScriptTypes } from 'node:module'
import { MeshError } from '../../protocol/errors.ts'
import type { JobFailure } from '../../protocol/job.ts'
import { codeFrame } from '../exec/isolate/guest/code-frame.ts'

/** What is used of oxc-transform, which is loaded only when it is needed. */
interface Oxc {
  transformSync(
    name: string,
    source: string,
    options: { lang: 'ts'; sourceType: 'module'; target: 'es2024' },
  ): { code: string; errors: { message: string; labels: { start: number }[]; helpMessage?: string | null }[] }
}

export interface Stripped {
  readonly code: string
  /** Whether lines and columns of the code are those of the source */
  readonly positions: 'kept' | 'moved'
}

/** @throws MeshError E_SYNTAX, with a `JobFailure` in `details.failure`, when the source is not TypeScript */
export function stripTypes(name: string, source: string): Stripped {
  try {
    return { code: quietly(() => stripTypeScriptTypes(source, { mode: 'strip' })), positions: 'kept' }
  } catch {
    return { code: transform(name, source), positions: 'moved' }
  }
}

let oxc: Oxc | undefined

function transform(name: string, source: string): string {
  oxc ??= createRequire(import.meta.url)('oxc-transform') as Oxc
  const { code, errors } = oxc.transformSync(name, source, { lang: 'ts', sourceType: 'module', target: 'es2024' })
  const [error] = errors
  if (error === undefined) return code
  throw syntaxError(
    name,
    source,
    error.message,
    offsetOf(source, error.labels[0]?.start ?? 0),
    error.helpMessage ?? undefined,
  )
}

/** The transformer counts in bytes of UTF-8, editors in UTF-16 units. */
function offsetOf(source: string, bytes: number): number {
  return Buffer.from(source, 'utf8').toString('utf8', 0, bytes).length
}

function syntaxError(
  name: string,
  source: string,
  message: string,
  offset: number,
  hint: string | undefined,
): MeshError {
  const before = source.slice(0, offset).split('\n')
  const line = before.length
  const column = (before.at(-1) ?? '').length + 1
  const frame = codeFrame(source, line, column)
  const failure: JobFailure = {
    code: 'E_SYNTAX',
    message,
    name: 'SyntaxError',
    file: name,
    line,
    column,
    ...(frame === undefined ? {} : { frame }),
    ...(hint === undefined ? {} : { hint }),
  }
  return new MeshError('E_SYNTAX', `${name}:${line}:${column}: ${message}`, {
    ...(hint === undefined ? {} : { hint }),
    details: { failure },
  })
}

let warned = false

/** The stripper warns once that it is experimental; that is ours to know and not the user's. */
function quietly<T>(run: () => T): T {
  if (warned) return run()
  const { emitWarning } = process
  process.emitWarning = () => {}
  try {
    return run()
  } finally {
    process.emitWarning = emitWarning
    warned = true
  }
}
