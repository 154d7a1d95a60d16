/** Why a daemon that was started on its own does not answer, from what it wrote before its log was open. Pure. */
import { ManyhandsError } from '../../sdk/src/index.ts'
import { EXIT, isCode } from './exit.ts'

const HINT = 'Run it in the foreground to see more: manyhands up'
/** Lines of what it wrote that are shown when it said nothing better */
const TAIL = 12

/** @param limitMs how long it was waited for @param exit with what code it ended; null: by a signal or not at all, undefined: it runs */
export function startFailure(log: string, exit: number | null | undefined, limitMs: number): ManyhandsError {
  if (exit === undefined)
    return new ManyhandsError(
      'E_NOT_RUNNING',
      `Cannot start the daemon: it does not answer after ${limitMs / 1000} s`,
      {
        hint: HINT,
      },
    )
  const lines = log.trimEnd().split('\n')
  const told = lines.map(toldFailure).findLast((error) => error !== undefined)
  if (told) return told
  // On a full disk even that was not written
  if (log === '' && exit === EXIT.E_STORAGE)
    return new ManyhandsError('E_STORAGE', 'Cannot start the daemon: its disk is full or cannot be written', {
      hint: 'Free space there; `manyhands paths` shows where. In the foreground it says more: manyhands up',
    })
  // It did not come as far as telling: what the runtime wrote is all there is
  const tail = lines.slice(-TAIL).join('\n')
  return new ManyhandsError(
    'E_NOT_RUNNING',
    `Cannot start the daemon: it ended while starting${tail === '' ? '' : `\n${tail}`}`,
    { hint: HINT },
  )
}

/** The failure that `up --json` prints as its one object. */
function toldFailure(line: string): ManyhandsError | undefined {
  if (!line.startsWith('{"error":')) return undefined
  const error = objectOf(parsed(line), 'error')
  const code = textOf(error, 'code')
  const message = textOf(error, 'message')
  if (code === undefined || !isCode(code) || message === undefined) return undefined
  const details = objectOf(error, 'details')
  return new ManyhandsError(code, message, { hint: textOf(error, 'hint') ?? HINT, ...(details && { details }) })
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}

function objectOf(value: unknown, key: string): Record<string, unknown> | undefined {
  const child = fieldOf(value, key)
  return typeof child === 'object' && child !== null ? { ...child } : undefined
}

function textOf(value: unknown, key: string): string | undefined {
  const child = fieldOf(value, key)
  return typeof child === 'string' ? child : undefined
}

function fieldOf(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null
    ? Object.entries(value).find(([name]) => name === key)?.[1]
    : undefined
}
