/** What an interpreter says of a request, of which nothing is believed but its shape. */
import { MeshError } from '../../../../../protocol/errors.ts'

export interface RichResult {
  /** A media type */
  readonly type: string
  /** Text, or base64 of the bytes */
  readonly data: string
  readonly base64: boolean
}

export interface CodeError {
  readonly name: string
  readonly message: string
  readonly trace: string
}

export interface Answer {
  readonly results: readonly RichResult[]
  readonly error?: CodeError
  /** The shell's status */
  readonly code?: number
}

const MAX_RESULTS = 1000
const MEDIA_TYPE = /^[a-z]+\/[a-z0-9.+-]{1,64}$/

/** @throws MeshError E_PROTOCOL */
export function readAnswer(bytes: Buffer): Answer {
  const value = parse(bytes)
  const results = field(value, 'results')
  if (!Array.isArray(results) || results.length > MAX_RESULTS) throw wrong()
  const error = field(value, 'error')
  const code = field(value, 'code')
  return {
    results: results.map(readResult),
    ...(error === undefined ? {} : { error: readError(error) }),
    ...(typeof code === 'number' && Number.isInteger(code) ? { code } : {}),
  }
}

function parse(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString())
  } catch {
    throw wrong()
  }
}

function readResult(value: unknown): RichResult {
  const type = text(field(value, 'type'))
  if (!MEDIA_TYPE.test(type)) throw wrong()
  return { type, data: text(field(value, 'data')), base64: field(value, 'base64') === true }
}

function readError(value: unknown): CodeError {
  return {
    name: text(field(value, 'name')),
    message: text(field(value, 'message')),
    trace: text(field(value, 'trace')),
  }
}

function text(value: unknown): string {
  if (typeof value !== 'string') throw wrong()
  return value
}

function field(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null) throw wrong()
  return Object.getOwnPropertyDescriptor(value, name)?.value
}

const wrong = (): MeshError =>
  new MeshError('E_PROTOCOL', 'The interpreter in the sandbox gave no answer that can be read')
