/**
 * What one configuration key may hold, as plain data: nothing is built and little is loaded before a node has joined. Sections are objects of leaves and sections.
 */
export type Leaf = NumberLeaf | FlagLeaf | TextLeaf | ListLeaf | ChoiceLeaf<string>

interface Described<Kind extends string, Value> {
  readonly kind: Kind
  /** In force where nothing is set */
  readonly fallback: Value
  /** One line for the document */
  readonly doc: string
}

/** A whole number from `min` to `max`. */
export interface NumberLeaf extends Described<'number', number> {
  readonly min: number
  readonly max: number
}

export type FlagLeaf = Described<'boolean', boolean>

/** At most `max` UTF-16 units. */
export interface TextLeaf extends Described<'string', string> {
  readonly max: number
}

/** At most `maxItems` texts of 1 to `itemLength` UTF-16 units. */
export interface ListLeaf extends Described<'list', readonly string[]> {
  readonly maxItems: number
  readonly itemLength: number
}

export interface ChoiceLeaf<T extends string> extends Described<'choice', T> {
  readonly of: readonly T[]
}

export interface Section {
  readonly [name: string]: Leaf | Section
}

/** What a checked configuration of these keys holds. */
export type ValueOf<S> =
  S extends ChoiceLeaf<infer T> ? T : S extends Leaf ? S['fallback'] : { readonly [K in keyof S]: ValueOf<S[K]> }

export function isLeaf(part: Leaf | Section): part is Leaf {
  return typeof part['kind'] === 'string'
}

/** What is wanted where the value does not fit, e.g. "a whole number from 0 to 65535"; undefined where it does. */
export function misfit(leaf: Leaf, value: unknown): string | undefined {
  return fits(leaf, value) ? undefined : wanted(leaf)
}

function fits(leaf: Leaf, value: unknown): boolean {
  switch (leaf.kind) {
    case 'number':
      return Number.isSafeInteger(value) && Number(value) >= leaf.min && Number(value) <= leaf.max
    case 'boolean':
      return typeof value === 'boolean'
    case 'string':
      return typeof value === 'string' && value.length <= leaf.max
    case 'choice':
      return typeof value === 'string' && leaf.of.includes(value)
    case 'list': {
      const isItem = (item: unknown): boolean =>
        typeof item === 'string' && item.length >= 1 && item.length <= leaf.itemLength
      return Array.isArray(value) && value.length <= leaf.maxItems && value.every(isItem)
    }
  }
}

function wanted(leaf: Leaf): string {
  switch (leaf.kind) {
    case 'number':
      return `a whole number from ${leaf.min} to ${leaf.max}`
    case 'boolean':
      return 'true or false'
    case 'string':
      return `a text of at most ${leaf.max} characters`
    case 'choice':
      return `one of ${leaf.of.join(', ')}`
    case 'list':
      return `an array of at most ${leaf.maxItems} texts of 1 to ${leaf.itemLength} characters`
  }
}
