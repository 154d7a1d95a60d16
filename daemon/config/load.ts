/**
 * Reads the configuration once, at start: flag over environment over file over default. Unknown keys are refused; the result is frozen.
 * Deciding is pure (`mergeConfig`); only `loadConfig` reads the file.
 */
import { readFileSync } from 'node:fs'
import { isAbsolute } from 'node:path'
import { MeshError } from '../../protocol/errors.ts'
import { parseConfigFile, type FileLayer } from './file.ts'
import { CONFIG_KEYS, type ConfigKey } from './keys.ts'
import { isLeaf, misfit, type Section } from './leaf.ts'
import { isLoopbackHost } from './loopback.ts'
import { CONFIG_SCHEMA, type Config } from './schema.ts'
import { didYouMean } from './suggest.ts'

export type Origin = 'default' | 'file' | 'env' | 'flag'

export interface LoadedConfig {
  readonly config: Config
  /** For each dotted key, where its value came from */
  readonly origin: Readonly<Record<string, Origin>>
}

export interface ConfigSources {
  /** Path; a missing file is an empty one unless `fileRequired` */
  readonly file: string
  /** @default false */
  readonly fileRequired?: boolean
  readonly env: Readonly<Record<string, string | undefined>>
  /** By dotted key, as typed by the user */
  readonly flags?: Readonly<Record<string, string>>
}

/** Variables with our prefix that are not configuration: which node, and how clients reach it. */
const OTHER_VARIABLES =
  /^MANYHANDS_(HOME|CONFIG|SOCKET|URL|TOKEN|TOKEN_FILE|NODE|JSON|TEST_\w+|FAILPOINT\w*|BENCH_\w+|DEMO_\w+)$/

/** One value as given, and where: for messages. */
interface Given {
  readonly value: unknown
  readonly origin: Origin
  readonly where: string
}

/** @throws MeshError E_CONFIG naming source, key and line; E_WIDE_BIND */
export function loadConfig(sources: ConfigSources): LoadedConfig {
  const text = readText(sources.file, sources.fileRequired ?? false)
  const layer = text === undefined ? undefined : parseConfigFile(text, sources.file)
  return mergeConfig(layer, sources.env, sources.flags ?? {})
}

/** @throws MeshError E_CONFIG, E_WIDE_BIND */
export function mergeConfig(
  file: FileLayer | undefined,
  env: Readonly<Record<string, string | undefined>>,
  flags: Readonly<Record<string, string>>,
): LoadedConfig {
  const problems: string[] = [...(file?.problems ?? [])]
  const given = new Map<string, Given>()
  for (const [key, { value, line }] of file?.values ?? [])
    given.set(key, { value, origin: 'file', where: `${file?.name}:${line}` })
  addVariables(env, given, problems)
  addFlags(flags, given, problems)
  problems.push(...misfits(given))
  if (problems.length > 0) throw refuse(problems)
  const config = valuesOf(CONFIG_SCHEMA, '', given) as Config
  problems.push(...crossChecks(config, given))
  if (problems.length > 0) throw refuse(problems)
  refuseWideBind(config.api.host, given)
  const origin = Object.fromEntries(CONFIG_KEYS.map(({ key }) => [key, given.get(key)?.origin ?? 'default']))
  return { config, origin: Object.freeze(origin) }
}

function addVariables(
  env: Readonly<Record<string, string | undefined>>,
  given: Map<string, Given>,
  problems: string[],
): void {
  const known = new Map(CONFIG_KEYS.map((key) => [key.variable, key]))
  for (const [name, raw] of Object.entries(env)) {
    if (raw === undefined || !name.startsWith('MANYHANDS_') || OTHER_VARIABLES.test(name)) continue
    const key = known.get(name)
    if (key) given.set(key.key, { value: fromText(key, raw), origin: 'env', where: `environment ${name}` })
    else problems.push(`environment ${name}: unknown variable${didYouMean(name, known.keys())}`)
  }
}

function addFlags(flags: Readonly<Record<string, string>>, given: Map<string, Given>, problems: string[]): void {
  const known = new Map(CONFIG_KEYS.map((key) => [key.key, key]))
  for (const [name, raw] of Object.entries(flags)) {
    const key = known.get(name)
    if (key) given.set(name, { value: fromText(key, raw), origin: 'flag', where: `flag ${name}` })
    else problems.push(`flag ${name}: unknown key${didYouMean(name, known.keys())}`)
  }
}

/** What the text stands for; a text that does not fit stays a text, and the schema says what was wanted. */
function fromText(key: ConfigKey, raw: string): unknown {
  switch (key.leaf.kind) {
    case 'string':
    case 'choice':
      return raw
    case 'number':
      return raw.trim() !== '' && Number.isFinite(Number(raw)) ? Number(raw) : raw
    case 'boolean':
      return raw === 'true' || raw === '1' ? true : raw === 'false' || raw === '0' ? false : raw
    case 'list':
      return raw
        .split(',')
        .map((item) => item.trim())
        .filter((item) => item !== '')
  }
}

function misfits(given: ReadonlyMap<string, Given>): string[] {
  return CONFIG_KEYS.flatMap(({ key, leaf }) => {
    const source = given.get(key)
    const wanted = source && misfit(leaf, source.value)
    return source && wanted ? [`${source.where}: ${key}: ${wanted} is wanted: received ${shown(source.value)}`] : []
  })
}

/** Short and on one line, whatever it is. */
function shown(value: unknown): string {
  return (JSON.stringify(value) ?? typeof value).slice(0, 100)
}

/** The value of every key below a section, where each that is given fits its leaf; frozen. */
function valuesOf(section: Section, prefix: string, given: ReadonlyMap<string, Given>): unknown {
  const values = Object.entries(section).map(([name, part]) => {
    const key = `${prefix}${name}`
    if (!isLeaf(part)) return [name, valuesOf(part, `${key}.`, given)]
    const value = given.has(key) ? given.get(key)?.value : part.fallback
    return [name, Array.isArray(value) ? frozenCopy(value) : value]
  })
  return Object.freeze(Object.fromEntries(values))
}

function frozenCopy(items: readonly unknown[]): readonly unknown[] {
  return Object.freeze([...items])
}

/** What no single key can say. */
function crossChecks(config: Config, given: ReadonlyMap<string, Given>): string[] {
  const problems: string[] = []
  const blame = (key: string): string => given.get(key)?.where ?? 'configuration'
  const { lease, executor } = config
  if (lease.renewMs * 2 > lease.durationMs)
    problems.push(
      `${blame('lease.renewMs')}: lease.renewMs: at most half of lease.durationMs (${lease.durationMs}) is wanted: received ${lease.renewMs}`,
    )
  if (lease.marginMs >= lease.durationMs - lease.renewMs)
    problems.push(
      `${blame('lease.marginMs')}: lease.marginMs: less than lease.durationMs - lease.renewMs is wanted: received ${lease.marginMs}`,
    )
  // A daemon of its own runs in the root folder: the same text must mean the same file there
  for (const file of config.egress.caFiles)
    if (!isAbsolute(file))
      problems.push(`${blame('egress.caFiles')}: egress.caFiles: absolute paths are wanted: received "${file}"`)
  for (const [name, value] of Object.entries(executor.defaults)) {
    const ceiling: unknown = Object.entries(executor.ceilings).find(([other]) => other === name)?.[1]
    if (typeof ceiling === 'number' && value > ceiling)
      problems.push(
        `${blame(`executor.defaults.${name}`)}: executor.defaults.${name}: at most executor.ceilings.${name} (${ceiling}) is wanted: received ${value}`,
      )
  }
  return problems
}

function refuseWideBind(host: string, given: ReadonlyMap<string, Given>): void {
  if (isLoopbackHost(host)) return
  throw new MeshError(
    'E_WIDE_BIND',
    `Cannot use the configuration: ${given.get('api.host')?.where ?? 'configuration'}: api.host must be a loopback address: received "${host}"`,
    {
      hint: 'Use 127.0.0.1 or ::1; to reach this node from elsewhere, join its mesh or forward the port over SSH',
    },
  )
}

function refuse(problems: readonly string[]): MeshError {
  return new MeshError('E_CONFIG', `Cannot use the configuration: ${problems.slice(0, 20).join('\n  ')}`, {
    hint: 'docs/CONFIG.md lists every key; `manyhands config show --origin` shows what is in force',
    details: { problems: problems.slice(0, 20) },
  })
}

function readText(path: string, required: boolean): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')
    if (missing && !required) return undefined
    throw new MeshError(
      'E_CONFIG',
      `Cannot read the configuration file ${path}: ${missing ? 'there is none' : 'it is not readable'}`,
      { cause: error },
    )
  }
}
