/** Durations, sizes and limits as people type them. */
import { ManyhandsError } from '../../sdk/src/errors.ts'
import type { LimitsInput, SandboxLimitsInput } from '../../sdk/src/index.ts'

const MILLISECONDS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }
const BYTES: Readonly<Record<string, number>> = { '': 1, b: 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 }

/** "500ms", "1.5s", "2m", "1h", "7d"; a number alone is milliseconds. @throws ManyhandsError E_BAD_REQUEST */
export function parseDuration(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?$/.exec(text.trim())
  const value = Number(match?.[1]) * (MILLISECONDS[match?.[2] ?? 'ms'] ?? 1)
  if (!match || !Number.isSafeInteger(Math.round(value)))
    throw bad(`"${text}" is not a duration`, 'Write 500ms, 5s, 2m, 1h or 7d')
  return Math.round(value)
}

/** "64MB", "64MiB", "64m", "1g", "4096": units count in 1024. @throws ManyhandsError E_BAD_REQUEST */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(?:(b)|(k|m|g)(?:i?b)?)?$/i.exec(text.trim())
  const value = Number(match?.[1]) * (BYTES[(match?.[3] ?? '').toLowerCase()] ?? 1)
  if (!match || !Number.isSafeInteger(Math.round(value)))
    throw bad(`"${text}" is not a size`, 'Write 4096, 64KB, 64MB or 1GB')
  return Math.round(value)
}

/** @throws ManyhandsError E_BAD_REQUEST */
export function parseCount(text: string): number {
  if (/^\d{1,15}$/.test(text.trim())) return Number(text)
  throw bad(`"${text}" is not a whole number`, 'Write it in digits')
}

const LIMITS: Readonly<Record<string, readonly [keyof LimitsInput, (text: string) => number]>> = {
  wall: ['wallMs', parseDuration],
  cpu: ['cpuMs', parseDuration],
  memory: ['memoryBytes', parseSize],
  output: ['outputBytes', parseSize],
  log: ['logBytes', parseSize],
  calls: ['hostCalls', parseCount],
  'call-bytes': ['hostCallBytes', parseSize],
}

export const LIMIT_NAMES: readonly string[] = Object.keys(LIMITS)

/** "wall=5s,memory=64MB". @throws ManyhandsError E_BAD_REQUEST */
export function parseLimits(texts: readonly string[]): LimitsInput {
  const limits: Partial<Record<keyof LimitsInput, number>> = {}
  for (const part of texts.flatMap((text) => text.split(',')).filter((one) => one.trim() !== '')) {
    const [name, value] = named(part)
    const limit = Object.hasOwn(LIMITS, name) ? LIMITS[name] : undefined
    if (!limit || value === undefined)
      throw bad(`"${part}" is not a limit`, `Write name=value with one of: ${LIMIT_NAMES.join(', ')}`)
    if (limits[limit[0]] !== undefined) throw bad(`the limit "${name}" is given twice`, 'Give it once')
    limits[limit[0]] = limit[1](value)
  }
  return limits
}

const BOX_LIMITS: Readonly<Record<string, readonly [keyof SandboxLimitsInput, (text: string) => number]>> = {
  memory: ['memoryBytes', parseSize],
  cpus: ['cpus', parseCpus],
  pids: ['pids', parseCount],
  disk: ['diskBytes', parseSize],
  inodes: ['inodes', parseCount],
  tmp: ['tmpBytes', parseSize],
  root: ['rootBytes', parseSize],
}

/** "memory=512MB,cpus=0.5". @throws ManyhandsError E_BAD_REQUEST */
export function parseSandboxLimits(texts: readonly string[]): SandboxLimitsInput {
  const limits: Partial<Record<keyof SandboxLimitsInput, number>> = {}
  for (const part of texts.flatMap((text) => text.split(',')).filter((one) => one.trim() !== '')) {
    const [name, value] = named(part)
    const limit = Object.hasOwn(BOX_LIMITS, name) ? BOX_LIMITS[name] : undefined
    if (!limit || value === undefined)
      throw bad(`"${part}" is not a limit`, `Write name=value with one of: ${Object.keys(BOX_LIMITS).join(', ')}`)
    if (limits[limit[0]] !== undefined) throw bad(`the limit "${name}" is given twice`, 'Give it once')
    limits[limit[0]] = limit[1](value)
  }
  return limits
}

/** At the first "=": what follows is the value whole, so that none of it is dropped unseen. */
function named(part: string): [name: string, value: string | undefined] {
  const at = part.indexOf('=')
  return at < 0 ? [part.trim(), undefined] : [part.slice(0, at).trim(), part.slice(at + 1).trim()]
}

function parseCpus(text: string): number {
  const value = Number(text)
  if (/^\d{1,4}(\.\d{1,3})?$/.test(text.trim()) && value > 0) return value
  throw bad(`"${text}" is not a number of CPUs`, 'Write 0.5, 1 or 2')
}

export function formatDuration(ms: number): string {
  if (ms < 1) return `${ms.toFixed(2)} ms`
  if (ms < 1000) return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`
  const seconds = ms / 1000
  if (seconds < 60) return `${seconds.toFixed(1)} s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ${Math.floor(seconds % 60)}s`
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}h ${Math.floor((seconds % 3600) / 60)}m`
  return `${Math.floor(seconds / 86_400)}d ${Math.floor((seconds % 86_400) / 3600)}h`
}

export function formatSize(bytes: number): string {
  const units = ['B', 'KB', 'MB', 'GB', 'TB']
  let value = bytes
  let unit = 0
  for (; value >= 1024 && unit < units.length - 1; unit++) value /= 1024
  return `${unit > 0 && value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`
}

function bad(message: string, hint: string): ManyhandsError {
  return new ManyhandsError('E_BAD_REQUEST', `Cannot read the command line: ${message}`, { hint })
}
