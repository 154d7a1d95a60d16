/** The leaves of the configuration schema, by dotted key: what environment variables, flags, origins and the document are made from. */
import { z } from 'zod'
import { CONFIG_SCHEMA } from './schema.ts'

export interface ConfigKey {
  /** Dotted, e.g. "api.port" */
  readonly key: string
  /** e.g. "MANYHANDS_API_PORT" */
  readonly variable: string
  readonly kind: 'string' | 'number' | 'boolean' | 'list'
  readonly fallback: unknown
  readonly doc: string
  /** e.g. "0 to 65535", "one of: a, b" */
  readonly bounds: string
}

/** In the order of the schema. */
export const CONFIG_KEYS: readonly ConfigKey[] = [...leaves(CONFIG_SCHEMA, [])]

/** "api.headersMs" -> "MANYHANDS_API_HEADERS_MS" */
export function variableOf(key: string): string {
  return `MANYHANDS_${key
    .replaceAll(/([a-z0-9])([A-Z])/g, '$1_$2')
    .replaceAll('.', '_')
    .toUpperCase()}`
}

function* leaves(schema: z.core.$ZodType, path: readonly string[]): Generator<ConfigKey> {
  const inner = schema instanceof z.ZodPrefault ? schema.unwrap() : schema
  if (inner instanceof z.ZodObject) {
    const shape: Readonly<Record<string, z.core.$ZodType>> = inner.shape
    for (const [name, child] of Object.entries(shape)) yield* leaves(child, [...path, name])
    return
  }
  if (!(inner instanceof z.ZodDefault)) throw new TypeError(`Configuration key ${path.join('.')} has no default`)
  yield describe(path.join('.'), inner)
}

/** What only the document needs is made when it is asked for: every start of a node passes here. */
function describe(key: string, leaf: z.ZodDefault): ConfigKey {
  const fallback = leaf.def.defaultValue
  const json = (): z.core.JSONSchema.JSONSchema => z.toJSONSchema(leaf, { io: 'input' })
  return {
    key,
    variable: variableOf(key),
    kind: kindOf(fallback),
    fallback,
    get doc() {
      return json().description ?? ''
    },
    get bounds() {
      return boundsOf(json())
    },
  }
}

/** A key takes what its default is. */
function kindOf(fallback: unknown): ConfigKey['kind'] {
  if (Array.isArray(fallback)) return 'list'
  if (typeof fallback === 'boolean') return 'boolean'
  return typeof fallback === 'string' ? 'string' : 'number'
}

function boundsOf(json: z.core.JSONSchema.JSONSchema): string {
  if (json.enum) return `one of: ${json.enum.join(', ')}`
  if (json.type === 'boolean') return 'true or false'
  if (json.type === 'array') return `at most ${json.maxItems} texts`
  if (json.type === 'string') return `at most ${json.maxLength} characters`
  return `${json.minimum?.toLocaleString('en')} to ${json.maximum?.toLocaleString('en')}`
}
