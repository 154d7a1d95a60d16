/** Between the plain types of `protocol/job.ts` and their protobuf forms, checking what comes from outside. */
import { manyhands } from '../../proto/gen/wire.js'
import { isErrorCode, MeshError } from '../errors.ts'
import { GRADES, type Grade, type JobFailure, type Limits, type ModuleType, type Program, type Usage } from '../job.ts'
import { LIMITS } from '../limits.ts'

const MODULE_TYPES: ReadonlySet<string> = new Set<ModuleType>(['js', 'json', 'text'])

/** @throws MeshError E_PROTOCOL when a peer's program breaks a limit */
export function programFromWire(wire: manyhands.Program.$Properties | null | undefined): Program {
  const modules = (wire?.modules ?? []).map((module) => ({
    name: text(module.name, LIMITS.moduleNameBytes, 'module name'),
    type: moduleType(module.type),
    source: module.source ?? '',
  }))
  const main = wire?.main ?? ''
  if (modules.length === 0 || modules.length > LIMITS.programModules)
    throw invalid(`a program of ${modules.length} modules`)
  if (!modules.some((module) => module.name === main)) throw invalid('a program without its main module')
  const bytes = modules.reduce((sum, module) => sum + module.source.length, 0)
  if (bytes > LIMITS.programBytes) throw invalid(`a program of ${bytes} characters`)
  return { main, modules }
}

function moduleType(value: string | null | undefined): ModuleType {
  if (value === 'js' || value === 'json' || value === 'text') return value
  throw invalid(`a module of type "${text(value, 32, 'module type')}", not one of ${[...MODULE_TYPES].join(', ')}`)
}

/** Zero means "the default" on the wire, where zero cannot be meant: `defaults` fills it in. */
export function limitsFromWire(wire: manyhands.Limits.$Properties | null | undefined, defaults: Limits): Limits {
  return {
    wallMs: positive(wire?.wallMs, defaults.wallMs),
    cpuMs: positive(wire?.cpuMs, defaults.cpuMs),
    memoryBytes: positive(wire?.memoryBytes, defaults.memoryBytes),
    outputBytes: positive(wire?.outputBytes, defaults.outputBytes),
    // None at all is a limit as well, so 0 stands for itself where limits are given.
    logBytes: wire ? amount(wire.logBytes) : defaults.logBytes,
    hostCalls: wire ? amount(wire.hostCalls) : defaults.hostCalls,
    hostCallBytes: wire ? amount(wire.hostCallBytes) : defaults.hostCallBytes,
  }
}

export function failureToWire(failure: JobFailure): manyhands.JobError.$Properties {
  return { ...failure }
}

export function failureFromWire(wire: manyhands.JobError.$Properties): JobFailure {
  const code = wire.code ?? ''
  return {
    code: isErrorCode(code) ? code : 'E_PROTOCOL',
    message: cut(wire.message ?? '', 4096),
    ...(wire.name ? { name: cut(wire.name, 256) } : {}),
    ...(wire.file ? { file: cut(wire.file, LIMITS.moduleNameBytes) } : {}),
    ...(wire.line ? { line: wire.line } : {}),
    ...(wire.column ? { column: wire.column } : {}),
    ...(wire.frame ? { frame: cut(wire.frame, 8192) } : {}),
    ...(wire.stack ? { stack: cut(wire.stack, 8192) } : {}),
    ...(wire.hint ? { hint: cut(wire.hint, 2048) } : {}),
  }
}

export function usageFromWire(wire: manyhands.Usage.$Properties | null | undefined): Usage {
  return {
    wallMs: amount(wire?.wallMs),
    cpuMs: amount(wire?.cpuMs),
    memoryBytes: amount(wire?.memoryBytes),
    outputBytes: amount(wire?.outputBytes),
    logBytes: amount(wire?.logBytes),
    hostCalls: amount(wire?.hostCalls),
    calls: amount(wire?.calls),
  }
}

export function isGrade(value: unknown): value is Grade {
  return typeof value === 'string' && (GRADES as readonly string[]).includes(value)
}

/** Whether what `offered` separates is at least what `wanted` demands. */
export function gradeSuffices(offered: Grade, wanted: Grade | undefined): boolean {
  return wanted === undefined || GRADES.indexOf(offered) >= GRADES.indexOf(wanted)
}

function positive(value: number | null | undefined, fallback: number): number {
  return typeof value === 'number' && Number.isFinite(value) && value > 0 ? value : fallback
}

function amount(value: number | null | undefined): number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : 0
}

function cut(value: string, length: number): string {
  return value.length > length ? value.slice(0, length) : value
}

function text(value: string | null | undefined, maximum: number, what: string): string {
  const found = value ?? ''
  if (found.length > maximum) throw invalid(`a ${what} of ${found.length} characters, at most ${maximum} are allowed`)
  return found
}

function invalid(what: string): MeshError {
  return new MeshError('E_PROTOCOL', `Cannot read a job from a peer: found ${what}`)
}
