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
  const key = path.join('.')
  const json: z.core.JSONSchema.JSONSchema = z.toJSONSchema(inner, { io: 'input' })
  yield {
    key,
    variable: variableOf(key),
    kind: kindOf(json),
    fallback: inner.def.defaultValue,
    doc: json.description ?? '',
    bounds: boundsOf(json),
  }
}

function kindOf(json: z.core.JSONSchema.JSONSchema): ConfigKey['kind'] {
  if (json.type === 'array') return 'list'
  if (json.type === 'boolean') return 'boolean'
  return json.type === 'string' ? 'string' : 'number'
}

function boundsOf(json: z.core.JSONSchema.JSONSchema): string {
  if (json.enum) return `one of: ${json.enum.join(', ')}`
  if (json.type === 'boolean') return 'true or false'
  if (json.type === 'array') return `at most ${json.maxItems} texts`
  if (json.type === 'string') return `at most ${json.maxLength} characters`
  return `${json.minimum?.toLocaleString('en')} to ${json.maximum?.toLocaleString('en')}`
}
