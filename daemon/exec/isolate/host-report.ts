import { isErrorCode } from '../../../protocol/errors.ts'
import type { JobFailure } from '../../../protocol/job.ts'
import { FrameError } from './frame.ts'

/** Longest failure or report that a host may send. */
export const REPORT_BYTES = 128 << 10

const TEXTS = ['name', 'file', 'frame', 'stack', 'hint'] as const

/** A failure as an untrusted host process sent it. @throws FrameError when it is not one */
export function parseFailure(json: string): JobFailure {
  return checkFailure(parse(json))
}

/** The body of an `ended` frame. @throws FrameError when it is not one */
export function parseReport(json: string): { readonly cpuMs: number; readonly error?: JobFailure } {
  const report = parse(json)
  // A number too large for JavaScript is read as infinite, which no receipt can hold.
  if (typeof report.cpuMs !== 'number' || !Number.isFinite(report.cpuMs) || report.cpuMs < 0)
    throw new FrameError('Cannot accept a report: no CPU time')
  return { cpuMs: report.cpuMs, ...(isObject(report.error) ? { error: checkFailure(report.error) } : {}) }
}

function checkFailure(value: Record<string, unknown>): JobFailure {
  const { code, message, line, column } = value
  if (!isErrorCode(code) || typeof message !== 'string')
    throw new FrameError('Cannot accept a failure: no code or message')
  const texts: [string, string][] = []
  for (const key of TEXTS) {
    const text = value[key]
    if (typeof text === 'string') texts.push([key, text])
  }
  return {
    code,
    message,
    ...Object.fromEntries(texts),
    ...(Number.isSafeInteger(line) ? { line: Number(line) } : {}),
    ...(Number.isSafeInteger(column) ? { column: Number(column) } : {}),
  }
}

function parse(json: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(json)
  } catch {
    throw new FrameError('Cannot accept a report: it is not JSON')
  }
  if (!isObject(value)) throw new FrameError('Cannot accept a report: it is not an object')
  return value
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
