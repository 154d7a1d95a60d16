/** The configuration file: JSON with comments and trailing commas. Every value keeps its line, so that a refusal can point at it. */
import { type Node, type ParseError, parseTree, printParseErrorCode } from 'jsonc-parser'
import { CONFIG_KEYS } from './keys.ts'
import { didYouMean } from './suggest.ts'

export interface FileLayer {
  readonly name: string
  /** By dotted key */
  readonly values: ReadonlyMap<string, { readonly value: unknown; readonly line: number }>
  readonly problems: readonly string[]
}

/** A configuration file is read whole; no sensible one comes near this. */
const MAX_CHARACTERS = 1 << 20

const LEAVES = new Set(CONFIG_KEYS.map(({ key }) => key))
const SECTIONS = new Set(
  CONFIG_KEYS.flatMap(({ key }) =>
    key
      .split('.')
      .slice(0, -1)
      .map((_, i, all) => all.slice(0, i + 1).join('.')),
  ),
)

/** Never throws: what is wrong stands in `problems`, each naming file, line and key. */
export function parseConfigFile(text: string, name: string): FileLayer {
  const values = new Map<string, { value: unknown; line: number }>()
  const problems: string[] = []
  const lineAt = (offset: number): number => text.slice(0, offset).split('\n').length
  if (text.length > MAX_CHARACTERS)
    return {
      name,
      values,
      problems: [`${name}: at most ${MAX_CHARACTERS} characters are wanted: received ${text.length}`],
    }
  if (text.trim() === '') return { name, values, problems }
  const errors: ParseError[] = []
  const root = parseTree(text, errors, { allowTrailingComma: true })
  for (const { error, offset } of errors.slice(0, 5))
    problems.push(`${name}:${lineAt(offset)}: not valid JSON: ${printParseErrorCode(error)}`)
  if (errors.length > 0) return { name, values, problems }
  if (root?.type !== 'object') return { name, values, problems: [`${name}:1: an object is wanted`] }
  visit(root, '', (key, node, line) => {
    if (SECTIONS.has(key) && node.type === 'object') return true
    if (values.has(key)) problems.push(`${name}:${line}: ${key}: given twice`)
    else if (LEAVES.has(key)) values.set(key, { value: plain(node), line })
    else if (SECTIONS.has(key)) problems.push(`${name}:${line}: ${key}: an object is wanted`)
    else problems.push(`${name}:${line}: ${key}: unknown key${didYouMean(key, [...LEAVES, ...SECTIONS])}`)
    return false
  })
  return { name, values, problems }

  function visit(object: Node, prefix: string, found: (key: string, node: Node, line: number) => boolean): void {
    for (const property of object.children ?? []) {
      const [label, node] = property.children ?? []
      if (!label || !node || typeof label.value !== 'string') continue
      const key = prefix === '' ? label.value : `${prefix}.${label.value}`
      // An editor's hint, not ours
      if (key === '$schema') continue
      if (found(key, node, lineAt(label.offset))) visit(node, key, found)
    }
  }
}

/** Leaves are scalars and lists of them; an object in their place stays one for the schema to refuse. */
function plain(node: Node): unknown {
  if (node.type === 'array') return (node.children ?? []).map(plain)
  return node.type === 'object' ? {} : node.value
}
