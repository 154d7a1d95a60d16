/** Tells a failure: what, where in the program, and what to do. */
import { ManyhandsError } from '../../sdk/src/errors.ts'
import { EXIT_INTERRUPTED, EXIT_UNREAD, exitOf } from './exit.ts'
import { type Output, ReaderGone } from './io.ts'
import { safeLine, safeText } from './terminal.ts'
import { notAllowed, unwritable } from './unwritable.ts'

/** The reason an interrupted command rejects with. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted'
}

/** Says it on stderr and, with --json, as the one object on stdout. Returns the exit code. Never rejects. */
export async function tellFailure(error: unknown, output: Output): Promise<number> {
  if (error instanceof Interrupted) {
    output.note('interrupted')
    await tellJson({ code: 'E_CANCELED', message: 'interrupted' }, output)
    return EXIT_INTERRUPTED
  }
  if (error instanceof ReaderGone) return EXIT_UNREAD
  const known = toKnown(error)
  output.note(failureText(known))
  await tellJson(failureJson(known), output)
  return exitOf(known.code)
}

async function tellJson(failure: Record<string, unknown>, output: Output): Promise<void> {
  if (!output.json) return
  // The failure may be just that standard output cannot be written
  await output.jsonLine({ error: failure }).catch(() => undefined)
}

export function failureText(error: ManyhandsError): string {
  const { failure, hint } = error
  // "Error" says nothing that "error:" does not
  const name = failure?.name === undefined || failure.name === 'Error' ? '' : `${failure.name}: `
  const lines = [`error: ${safeText(name + error.message)} [${safeLine(error.code)}]`]
  if (failure?.file !== undefined) {
    const place = [failure.file, failure.line, failure.column].filter((part) => part !== undefined).join(':')
    lines.push(`  at ${safeLine(place)}`)
  }
  if (failure?.frame !== undefined) lines.push('', indent(safeText(failure.frame)), '')
  if (failure?.stack !== undefined && failure.frame === undefined) lines.push(indent(safeText(failure.stack)))
  if (hint !== undefined) lines.push(`hint: ${safeText(hint)}`)
  if (error.task !== undefined) lines.push(`task: ${safeLine(error.task)}`)
  return lines.join('\n')
}

function failureJson(error: ManyhandsError): Record<string, unknown> {
  const { code, message, hint, retryAfterMs, details, failure, task } = error
  return { code, message, hint, retryAfterMs, details, failure, task }
}

function toKnown(error: unknown): ManyhandsError {
  if (error instanceof ManyhandsError) return error
  // The daemon's own error class, when the daemon runs in this process: same fields, other class
  if (error instanceof Error && 'code' in error && typeof error.code === 'string' && error.code.startsWith('E_')) {
    const hint = 'hint' in error && typeof error.hint === 'string' ? error.hint : undefined
    return new ManyhandsError(error.code as ManyhandsError['code'], error.message, { hint, cause: error })
  }
  const ofSystem = unwritable(error) ?? notAllowed(error)
  if (ofSystem) return ofSystem
  const message = error instanceof Error ? error.message : String(error)
  return new ManyhandsError('E_INTERNAL', message, { cause: error })
}

function indent(text: string): string {
  return text
    .split('\n')
    .map((line) => `  ${line}`)
    .join('\n')
}
