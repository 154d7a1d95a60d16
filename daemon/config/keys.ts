/** The leaves of the configuration schema, by dotted key: what environment variables, flags, origins and the document are made from. */
import { isLeaf, type Leaf, type Section } from './leaf.ts'
import { CONFIG_SCHEMA } from './schema.ts'

export interface ConfigKey {
  /** Dotted, e.g. "api.port" */
  readonly key: string
  /** e.g. "MANYHANDS_API_PORT" */
  readonly variable: string
  readonly leaf: Leaf
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

function* leaves(section: Section, path: readonly string[]): Generator<ConfigKey> {
  for (const [name, part] of Object.entries(section)) {
    const key = [...path, name].join('.')
    if (isLeaf(part)) yield { key, variable: variableOf(key), leaf: part }
    else yield* leaves(part, [...path, name])
  }
}
