/**
 * What a guest threw, or what V8 said of its source, as the fields of a `JobFailure`. Pure, host side. All input is hostile: texts are bounded,
 * positions count only when they name a module and a line of the program, and nothing of the host's stack or paths gets through.
 */
import type { ErrorCode } from '../../../../protocol/errors.ts'
import type { JobFailure, Program } from '../../../../protocol/job.ts'
import { codeFrame } from './code-frame.ts'
import { hintFor } from './hints.ts'
import { guestFrames, type Frame, type Position } from './stack.ts'

const MESSAGE_CHARS = 4096
const NAME_CHARS = 128
const HINT_CHARS = 1024
/** Codes the runtime inside the isolate may put on its own errors. Anything else a guest claims is E_GUEST. */
const RUNTIME_CODES: readonly ErrorCode[] = [
  'E_RESULT',
  'E_OUTPUT',
  'E_IMPORT',
  'E_NETWORK_CLOSED',
  'E_HOST_CALL',
  'E_CALL_BUDGET',
]
const CLOSED = 'the network is closed to this program'
/** V8's message, then the place, as isolated-vm appends it to errors of compilation. */
const COMPILE_PLACE = /^([^]*) \[([^\s[\]():]+):(\d{1,9}):(\d{1,9})\]$/

interface Found {
  readonly code: ErrorCode
  readonly message: string
  readonly name?: string | undefined
  readonly position?: Position | undefined
  readonly frames?: readonly Frame[]
  readonly hint?: string | undefined
}

/** From the raw text of a failed call or of entry `main`; see `RawFailure`. */
export function failureFromRaw(raw: string, program: Program): JobFailure {
  const { code, name, message, stack, hint } = parseRaw(raw)
  const frames = guestFrames(stack ?? '', namesOf(program))
  // A host function fails with its own code (E_FORBIDDEN, ...): for the job that is a failed host call.
  const known = code === undefined ? 'E_GUEST' : (RUNTIME_CODES.find((one) => one === code) ?? 'E_HOST_CALL')
  const position = known === 'E_IMPORT' ? { file: program.main, line: 1, column: 1 } : frames[0]
  return failure({ code: known, message, name: code === undefined ? name : undefined, position, frames, hint }, program)
}

/** From what compiling, linking or evaluating a module of the program rejected with. */
export function failureFromThrown(
  error: unknown,
  program: Program,
  phase: 'compile' | 'link' | 'evaluate',
): JobFailure {
  const name = textOf(error, 'name')
  const message =
    error instanceof Error || textOf(error, 'message') !== undefined
      ? (textOf(error, 'message') ?? '')
      : `Thrown: ${primitive(error)}`
  if (phase === 'compile') return compileFailure(name, message, program)
  if (phase === 'link') return linkFailure(name, message, program)
  const frames = guestFrames(textOf(error, 'stack') ?? '', namesOf(program))
  const code = message.endsWith(CLOSED) ? 'E_NETWORK_CLOSED' : 'E_GUEST'
  const plain = message.startsWith('An object was thrown from supplied code')
    ? 'Thrown: an object that is not an Error'
    : message
  return failure({ code, message: plain, name, position: frames[0], frames }, program)
}

/** A line for the log: a promise of the program was rejected after loading, and nothing waited for it. */
export function uncaughtLine(error: unknown, program: Program): string {
  const { name, message, stack } = failureFromThrown(error, program, 'evaluate')
  return `Uncaught (in promise) ${name === undefined ? '' : `${name}: `}${message}${stack === undefined ? '' : `\n${stack}`}`
}

/** For a specifier that names no module of the program. */
export function unresolvedImport(specifier: string, referrer: string, program: Program): JobFailure {
  const source = sourceOf(program, referrer) ?? ''
  const at = importOf(source, specifier)
  const position = at < 0 ? undefined : place(referrer, source, at)
  return failure(
    {
      code: 'E_IMPORT',
      message: `${referrer} imports "${specifier.slice(0, 256)}", which is no module of the program`,
      position,
    },
    program,
  )
}

function compileFailure(name: string | undefined, message: string, program: Program): JobFailure {
  const [, text, file = '', line, column] = COMPILE_PLACE.exec(message) ?? []
  if (text === undefined || !namesOf(program).has(file))
    return failure({ code: 'E_SYNTAX', message: 'The program does not parse', name }, program)
  return failure(
    { code: 'E_SYNTAX', message: text, name, position: { file, line: Number(line), column: Number(column) } },
    program,
  )
}

function linkFailure(name: string | undefined, message: string, program: Program): JobFailure {
  const [, specifier, missing] =
    /^The requested module '([^']+)' (?:does not provide an export named|contains conflicting star exports for name) '([^']+)'/.exec(
      message,
    ) ?? []
  // Other messages of this phase may come from the host's resolver.
  if (specifier === undefined || missing === undefined)
    return failure({ code: 'E_IMPORT', message: 'The modules of the program cannot be linked' }, program)
  return failure({ code: 'E_IMPORT', message, name, position: importedName(program, specifier, missing) }, program)
}

/** Where a module imports `name` from `specifier`. */
function importedName(program: Program, specifier: string, name: string): Position | undefined {
  for (const module of program.modules) {
    if (module.type !== 'js') continue
    const end = importOf(module.source, specifier)
    if (end < 0) continue
    const start = Math.max(module.source.lastIndexOf('import', end), module.source.lastIndexOf('export', end), 0)
    const at = module.source
      .slice(start, end)
      .search(new RegExp(`(?<![\\w$])${name.replace(/[^\w]/g, '\\$&')}(?![\\w$])`))
    if (at >= 0 || name === 'default') return place(module.name, module.source, start + Math.max(at, 0))
  }
  return undefined
}

/** Index of the quoted specifier in an import or re-export, or -1. */
function importOf(source: string, specifier: string): number {
  for (const quoted of [`"${specifier}"`, `'${specifier}'`]) {
    for (let at = source.indexOf(quoted); at >= 0; at = source.indexOf(quoted, at + 1)) {
      if (/(?:\bfrom|\bimport)\s*$/.test(source.slice(Math.max(0, at - 64), at))) return at
    }
  }
  return -1
}

function place(file: string, source: string, index: number): Position {
  const before = source.slice(0, index).split('\n')
  return { file, line: before.length, column: (before[before.length - 1] ?? '').length + 1 }
}

function failure(found: Found, program: Program): JobFailure {
  const { position } = found
  const message = bounded(found.message, MESSAGE_CHARS) || 'The program threw an error without a message'
  const name = found.name === undefined || found.name === '' ? undefined : bounded(found.name, NAME_CHARS)
  const source = position === undefined ? undefined : sourceOf(program, position.file)
  const frame =
    position === undefined || source === undefined ? undefined : codeFrame(source, position.line, position.column)
  const line = found.code === 'E_IMPORT' ? (source ?? '') : ((position && source?.split('\n')[position.line - 1]) ?? '')
  const hint =
    found.hint ?? hintFor({ code: found.code, name, message, file: position?.file, line: line.slice(0, 4096) })
  const stack = found.frames?.map(({ text }) => text).join('\n')
  return {
    code: found.code,
    message,
    ...(name === undefined ? {} : { name }),
    ...(position === undefined || frame === undefined
      ? {}
      : { file: position.file, line: position.line, column: position.column, frame }),
    ...(stack ? { stack } : {}),
    ...(hint === undefined ? {} : { hint: bounded(hint, HINT_CHARS) }),
  }
}

function parseRaw(raw: string): { code?: string; name?: string; message: string; stack?: string; hint?: string } {
  let value: unknown
  try {
    value = JSON.parse(raw)
  } catch {
    value = undefined
  }
  const [code, name, message, stack, hint] = ['code', 'name', 'message', 'stack', 'hint'].map((field) =>
    textOf(value, field),
  )
  return {
    message: message ?? 'The program threw something that cannot be read',
    ...(code === undefined ? {} : { code }),
    ...(name === undefined ? {} : { name }),
    ...(stack === undefined ? {} : { stack }),
    ...(hint === undefined ? {} : { hint }),
  }
}

/** An own or inherited text, if reading it works. */
function textOf(value: unknown, field: string): string | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const text: unknown = Reflect.get(value, field)
  return typeof text === 'string' ? text : undefined
}

function primitive(value: unknown): string {
  const plain = value === null || (typeof value !== 'object' && typeof value !== 'function')
  return plain ? bounded(String(value), MESSAGE_CHARS) : `a value of type ${typeof value}`
}

function bounded(text: string, most: number): string {
  return text.length > most ? `${text.slice(0, most)}…` : text
}

function sourceOf(program: Program, name: string): string | undefined {
  return program.modules.find((module) => module.name === name)?.source
}

function namesOf(program: Program): ReadonlySet<string> {
  return new Set(program.modules.map(({ name }) => name))
}
