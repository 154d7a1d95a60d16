/**
 * Names of refs, narrower than Git's own rule (git-check-ref-format): what Git accepts and a shell, a URL, a terminal or a careless program trips
 * over is refused here: leading dashes, quotes, `$`, control and bidi characters, `__proto__`, names that look like an object id.
 *
 *   ref       = "refs/" kind 1*( "/" component )
 *   kind      = "heads" / "tags" / "notes" / "proposals"
 *   component = ( ALPHA / DIGIT / "_" ) *( ALPHA / DIGIT / "." / "_" / "+" / "=" / "@" / "#" / "," / "-" )
 *               not ending in "." or ".lock", without "..", not "__proto__", not "HEAD"
 *
 * At most 200 characters and 16 components. `refs/manyhands/` belongs to the system: nobody names a ref there from outside.
 */
export const REF_LIMITS = {
  /** Characters of a name */
  chars: 200,
  /** Components after the kind */
  depth: 16,
  /** Refs of one writer: bounds a record, which lists them all */
  perWriter: 1_024,
} as const

export const REF_KINDS = ['heads', 'tags', 'notes', 'proposals'] as const
export type RefKind = (typeof REF_KINDS)[number]

const COMPONENT = /^[A-Za-z0-9_][A-Za-z0-9._+=@#,-]*$/
const OBJECT_ID = /^[0-9a-f]{40}$/

/** Why `name` cannot be a ref of an artifact; undefined when it can. */
export function refNameFault(name: string): string | undefined {
  if (name.length > REF_LIMITS.chars) return `it has ${name.length} characters, at most ${REF_LIMITS.chars} are allowed`
  const [root, kind = '', ...components] = name.split('/')
  if (root !== 'refs' || !isKind(kind)) return `it must begin with refs/ and one of ${REF_KINDS.join(', ')}`
  if (components.length === 0) return 'it ends after its kind'
  if (components.length > REF_LIMITS.depth) return `it has more than ${REF_LIMITS.depth} parts`
  if (components.length === 1 && OBJECT_ID.test(components[0] ?? '')) return 'it looks like an object id'
  for (const component of components) {
    const fault = componentFault(component)
    if (fault !== undefined) return fault
  }
  return undefined
}

function componentFault(component: string): string | undefined {
  if (component === '') return 'a part of it is empty'
  if (!COMPONENT.test(component)) {
    return 'its parts are letters, digits and . _ + = @ # , - and begin with a letter, a digit or _'
  }
  if (component.endsWith('.') || component.endsWith('.lock')) return 'a part of it ends in "." or ".lock"'
  if (component.includes('..')) return 'it has two dots in a row'
  if (component === '__proto__' || component === 'HEAD') return `no part of it may be ${component}`
  return undefined
}

export function isRefName(value: unknown): value is string {
  return typeof value === 'string' && refNameFault(value) === undefined
}

export function isKind(value: string): value is RefKind {
  return REF_KINDS.some((kind) => kind === value)
}

/** The kind of a valid ref name. */
export function refKind(ref: string): RefKind {
  const kind = ref.split('/')[1] ?? ''
  if (!isKind(kind)) throw new TypeError(`Cannot tell the kind of a ref: '${kind}' is none`)
  return kind
}

/** Whether the text is a full object id of Git (SHA-1, lower-case hex). */
export function isObjectId(value: unknown): value is string {
  return typeof value === 'string' && OBJECT_ID.test(value)
}

/** Where the repository keeps a writer's newest record. */
export const recordRef = (writer: string): string => `refs/manyhands/records/${writer}`

/** Where the repository keeps a ref of a writer who is not the owner: refs/heads/x becomes refs/manyhands/writers/<writer>/heads/x. */
export const writerRef = (writer: string, ref: string): string =>
  `refs/manyhands/writers/${writer}/${ref.slice('refs/'.length)}`

/**
 * A pair of names that cannot both exist, since one would have to be a file and a folder for some Git clients: refs/heads/a and refs/heads/a/b.
 * @returns the first pair in name order, undefined when there is none
 */
export function nameConflict(names: Iterable<string>): readonly [string, string] | undefined {
  const all = new Set(names)
  for (const name of [...all].sort()) {
    for (let end = name.lastIndexOf('/'); end > 0; end = name.lastIndexOf('/', end - 1)) {
      const parent = name.slice(0, end)
      if (all.has(parent)) return [parent, name]
    }
  }
  return undefined
}
