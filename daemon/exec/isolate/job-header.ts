/**
 * Body of a LOAD frame: [u32 header length][header JSON][source of each module, in the header's order][input JSON text].
 * Sources and input are passed through untouched; only the header is JSON that both sides read.
 */
import type { JobSpec, ModuleType, Program } from '../executor.ts'

/** What an isolate host needs to know of a job. */
export interface HostJob {
  readonly program: Program
  readonly hostFunctions: readonly string[]
  readonly memoryBytes: number
  readonly outputBytes: number
  readonly logBytes: number
  readonly hostCalls: number
  readonly hostCallBytes: number
  /** JSON text; empty for a session */
  readonly input: string
}

interface Header {
  main: string
  modules: { name: string; type: ModuleType; bytes: number }[]
  hostFunctions: readonly string[]
  memoryBytes: number
  outputBytes: number
  logBytes: number
  hostCalls: number
  hostCallBytes: number
}

export function encodeJob(spec: JobSpec, input: string): Buffer {
  const { memoryBytes, outputBytes, logBytes, hostCalls, hostCallBytes } = spec.limits
  const modules = spec.program.modules.map(({ name, type, source }) => ({
    name,
    type,
    bytes: Buffer.byteLength(source),
  }))
  const header: Header = {
    main: spec.program.main,
    modules,
    hostFunctions: spec.hostFunctions,
    memoryBytes,
    outputBytes,
    logBytes,
    hostCalls,
    hostCallBytes,
  }
  const head = JSON.stringify(header)
  const headBytes = Buffer.byteLength(head)
  const sourceBytes = modules.reduce((sum, module) => sum + module.bytes, 0)
  const body = Buffer.allocUnsafe(4 + headBytes + sourceBytes + Buffer.byteLength(input))
  body.writeUInt32LE(headBytes, 0)
  let at = 4 + body.write(head, 4)
  for (const module of spec.program.modules) at += body.write(module.source, at)
  body.write(input, at)
  return body
}

/** The daemon is the trusted side, so this only has to undo `encodeJob`. */
export function decodeJob(body: Buffer): HostJob {
  const headEnd = 4 + body.readUInt32LE(0)
  const header: unknown = JSON.parse(body.toString('utf8', 4, headEnd))
  if (!isHeader(header)) throw new TypeError('Cannot read a job: its header is not one')
  let at = headEnd
  const modules = header.modules.map(({ name, type, bytes }) => {
    const source = body.toString('utf8', at, at + bytes)
    at += bytes
    return { name, type, source }
  })
  const { main, modules: _, ...rest } = header
  return { ...rest, program: { main, modules }, input: body.toString('utf8', at) }
}

function isHeader(value: unknown): value is Header {
  return (
    typeof value === 'object' && value !== null && 'main' in value && 'modules' in value && Array.isArray(value.modules)
  )
}
