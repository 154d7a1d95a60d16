/** Reads an engine's JSON without believing its shape: what is missing or of another type is empty. Engines that only speak the API leave much out. */
export interface EngineJson {
  at(name: string): EngineJson
  /** Of a field, or of itself; numbers as text too */
  text(name?: string): string
  number(name?: string): number
  flag(name: string): boolean
  items(name?: string): EngineJson[]
  keys(): string[]
  /** Fields that are texts */
  texts(): Record<string, string>
}

export function engineJson(value: unknown): EngineJson {
  const own = (name: string | undefined): unknown => {
    if (name === undefined) return value
    return typeof value === 'object' && value !== null && Object.hasOwn(value, name)
      ? Reflect.get(value, name)
      : undefined
  }
  return {
    at: (name) => engineJson(own(name)),
    text(name) {
      const found = own(name)
      return typeof found === 'string' || typeof found === 'number' ? String(found) : ''
    },
    number(name) {
      const found = own(name)
      return typeof found === 'number' && Number.isFinite(found) ? found : 0
    },
    flag: (name) => own(name) === true,
    items(name) {
      const found = own(name)
      return Array.isArray(found) ? found.map((item: unknown) => engineJson(item)) : []
    },
    keys: () => (typeof value === 'object' && value !== null ? Object.keys(value) : []),
    texts() {
      const fields = typeof value === 'object' && value !== null ? Object.entries(value) : []
      return Object.fromEntries(fields.filter((field): field is [string, string] => typeof field[1] === 'string'))
    },
  }
}
