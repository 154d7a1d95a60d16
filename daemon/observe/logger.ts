/**
 * The log: one JSON object a line (pino), bounded, with secrets taken out by name and by shape. Text from guests and peers can neither forge a line
 * nor drive a terminal: JSON escapes newlines and C0 controls, and what is left of control and bidirectional characters is escaped here. Warnings are
 * what a peer can cause at will: of those that are alike a few a minute are written, and the next says how many were not.
 */
import pino, { type Logger } from 'pino'
import { boundedRecord, boundedText } from './bounded-record.ts'
import { FloodGate } from './flood-gate.ts'
import type { LogSink } from './log-file.ts'

export type { Logger } from 'pino'

export interface LoggerOptions {
  readonly level: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent'
  readonly sink: LogSink
  /** Name of the node, in every line */
  readonly node?: string
}

// DEL, C1 controls, bidirectional overrides and isolates, line and paragraph separators; built from numbers so that none stands in this file
const RANGES = [
  [0x7f, 0x9f],
  [0x200e, 0x200f],
  [0x2028, 0x202e],
  [0x2066, 0x2069],
] as const
const CONTROLS = new RegExp(`[${RANGES.map(([from, to]) => `${unicode(from)}-${unicode(to)}`).join('')}]`, 'g')

/** Bindings of child loggers do not pass the formatters; these names are censored there too. */
const SECRET_BINDINGS = ['token', 'secret', 'password', 'psk', 'invite', 'authorization', 'privateKey', 'private_key']

export function createLogger(options: LoggerOptions): Logger {
  const gate = new FloodGate()
  return pino(
    {
      level: options.level,
      base: options.node === undefined ? {} : { node: boundedText(options.node) },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: {
        level: (label) => ({ level: label }),
        log: (record) => asRecord(boundedRecord(record)),
        bindings: (bindings) => asRecord(boundedRecord(bindings)),
      },
      // Errors are made plain by `boundedRecord`, with their codes and causes
      serializers: { err: (error: unknown) => error },
      redact: { paths: SECRET_BINDINGS, censor: '[redacted]' },
      hooks: {
        logMethod(args, method, level) {
          const leftOut = level === pino.levels.values['warn'] ? gate.pass(kindOf(args)) : 0
          if (leftOut === undefined) return
          // Arguments of a format string are bounded like everything else; pino takes (object?, message?, ...values)
          const bounded = args.map((arg) => (typeof arg === 'string' ? boundedText(arg) : arg))
          if (leftOut > 0) Reflect.apply(method, this, [{ leftOut }, 'warnings like the next were left out'])
          Reflect.apply(method, this, bounded)
        },
        streamWrite: (line) => line.replaceAll(CONTROLS, (character) => unicode(character.charCodeAt(0))),
      },
    },
    options.sink,
  )
}

/** What makes two warnings alike: the message, and of what kind an alarm is. */
function kindOf([facts, message]: readonly unknown[]): string {
  if (typeof facts === 'string') return facts
  const what = typeof facts === 'object' && facts !== null && 'what' in facts ? facts.what : undefined
  return [message, what].filter((part) => typeof part === 'string').join(' ')
}

function unicode(code: number): string {
  return `\\u${code.toString(16).padStart(4, '0')}`
}

function asRecord(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? { ...value } : { value }
}
