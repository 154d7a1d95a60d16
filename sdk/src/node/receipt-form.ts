/**
 * The one spelling of a receipt's statement: an in-toto Statement v1 whose predicate is https://manyhands.dev/receipt/v1, of work, or https://manyhands.dev/commits/v1,
 * of the commits that a task read and gave; as JSON with exactly these fields in this order and no spaces. What is read is written again and must give the same bytes, so that nothing hides in a second key of the same name.
 */
import { isObject } from '../shape.ts'
import { publicKeyOf } from './node-id.ts'

/** A field accepts a value or holds fields itself; "?" at the end of a name: it may be absent. */
type Form = ((value: unknown) => boolean) | { readonly [name: string]: Form } | readonly [Form]

const count = (value: unknown): boolean => Number.isSafeInteger(value) && Number(value) >= 0
const millis = (value: unknown): boolean => typeof value === 'number' && Number.isFinite(value) && value >= 0
const matches =
  (pattern: RegExp) =>
  (value: unknown): boolean =>
    typeof value === 'string' && pattern.test(value)
const oneOf =
  (...values: readonly string[]) =>
  (value: unknown): boolean =>
    typeof value === 'string' && values.includes(value)
const node = (value: unknown): boolean => typeof value === 'string' && publicKeyOf(value) !== undefined
const time = matches(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
const digest: Form = { sha256: matches(/^[0-9a-f]{64}$/) }

const STATEMENT: Form = {
  _type: oneOf('https://in-toto.io/Statement/v1'),
  subject: [{ name: oneOf('output', 'program'), digest }],
  predicateType: oneOf('https://manyhands.dev/receipt/v1'),
  predicate: {
    task: matches(/^[^]{1,128}$/),
    epoch: count,
    kind: oneOf('run', 'batch', 'session'),
    node,
    delegator: node,
    program: digest,
    input: digest,
    outcome: oneOf('completed', 'failed', 'canceled'),
    'error?': matches(/^E_[A-Z_]{1,40}$/),
    grade: oneOf('process', 'jailed', 'gvisor', 'microvm'),
    limits: {
      wallMs: count,
      cpuMs: count,
      memoryBytes: count,
      outputBytes: count,
      logBytes: count,
      hostCalls: count,
      hostCallBytes: count,
    },
    usage: {
      wallMs: millis,
      cpuMs: millis,
      memoryBytes: count,
      outputBytes: count,
      logBytes: count,
      hostCalls: count,
      calls: count,
    },
    'piece?': { from: count, count },
    chain: { sequence: (value) => count(value) && value !== 0, previous: matches(/^([0-9a-f]{64})?$/) },
    startedAt: time,
    endedAt: time,
  },
}

const artifact = matches(/^a[a-z2-7]{32}$/)
const commit = matches(/^[0-9a-f]{40}$/)
const ref = matches(/^refs\/[\x21-\x7e]{1,512}$/)

const COMMITS: Form = {
  _type: oneOf('https://in-toto.io/Statement/v1'),
  subject: [{ name: artifact, digest: { gitCommit: commit } }],
  predicateType: oneOf('https://manyhands.dev/commits/v1'),
  predicate: {
    task: matches(/^[^]{1,128}$/),
    node,
    work: digest,
    'input?': { artifact, commit },
    'output?': { artifact, ref, commit },
    chain: { sequence: (value) => count(value) && value !== 0, previous: matches(/^([0-9a-f]{64})?$/) },
    at: time,
  },
}

interface CommitAt {
  readonly artifact: string
  readonly commit: string
}

/** Of the commits that a task read and gave. */
export interface CommitsStatement {
  readonly subject: readonly [{ readonly name: string; readonly digest: { readonly gitCommit: string } }]
  readonly predicate: {
    readonly task: string
    readonly node: string
    readonly work: Digest
    readonly input?: CommitAt
    readonly output?: CommitAt & { readonly ref: string }
    readonly chain: { readonly sequence: number; readonly previous: string }
  }
}

/** Of work. */
export interface ReceiptStatement {
  readonly subject: readonly [{ readonly name: 'output' | 'program'; readonly digest: Digest }]
  readonly predicate: {
    readonly task: string
    readonly epoch: number
    readonly node: string
    readonly program: Digest
    readonly input: Digest
    readonly outcome: 'completed' | 'failed' | 'canceled'
    readonly error?: string
    readonly chain: { readonly sequence: number; readonly previous: string }
  }
}

interface Digest {
  readonly sha256: string
}

/** The statement, or a string that says what is wrong with it. */
export function readStatement(text: string): ReceiptStatement | CommitsStatement | string {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return 'the payload is not JSON'
  }
  const isOfCommits = isObject(value) && value['predicateType'] === 'https://manyhands.dev/commits/v1'
  const form = isOfCommits ? COMMITS : STATEMENT
  const wrong = misfit(form, value, '')
  if (wrong !== undefined) return `the statement is not one this version knows: ${wrong || 'the whole'} is wrong`
  if (JSON.stringify(inOrder(form, value)) !== text) return 'the statement is not written in its one canonical form'
  // Every field was checked above
  if (isOfCommits) return faultOfCommits(value as CommitsStatement) ?? (value as CommitsStatement)
  const statement = value as ReceiptStatement
  return inconsistency(statement) ?? statement
}

/** Path of the first part that does not fit; undefined when all do. */
function misfit(form: Form, value: unknown, path: string): string | undefined {
  if (typeof form === 'function') return form(value) ? undefined : path
  if (isTuple(form)) {
    return Array.isArray(value) && value.length === 1 ? misfit(form[0], value[0], `${path}.0`) : path
  }
  if (!isObject(value)) return path
  const names = Object.keys(form).map((name) => name.replace('?', ''))
  const unknown = Object.keys(value).find((name) => !names.includes(name))
  if (unknown !== undefined) return join(path, 'a field')
  for (const [name, inner] of Object.entries(form)) {
    const key = name.replace('?', '')
    if (key !== name && !Object.hasOwn(value, key)) continue
    const wrong = misfit(inner, Object.hasOwn(value, key) ? value[key] : undefined, join(path, key))
    if (wrong !== undefined) return wrong
  }
  return undefined
}

/** The same value with its fields in the order of the form. */
function inOrder(form: Form, value: unknown): unknown {
  if (typeof form === 'function') return value
  if (isTuple(form)) return Array.isArray(value) ? [inOrder(form[0], value[0])] : value
  if (!isObject(value)) return value
  const entries = Object.entries(form).map(([name, inner]) => [name.replace('?', ''), inner] as const)
  return Object.fromEntries(
    entries.filter(([key]) => Object.hasOwn(value, key)).map(([key, inner]) => [key, inOrder(inner, value[key])]),
  )
}

function inconsistency({ subject: [subject], predicate: said }: ReceiptStatement): string | undefined {
  const completed = said.outcome === 'completed'
  if ((subject.name === 'output') !== completed) return 'it has an output if and only if the work completed'
  if (!completed && subject.digest.sha256 !== said.program.sha256) return 'its subject is not its program'
  if ((said.error === undefined) !== completed) return 'it has an error if and only if the work did not complete'
  if ((said.chain.sequence === 1) !== (said.chain.previous === '')) return 'only the first receipt has none before it'
  return undefined
}

function faultOfCommits({ subject: [subject], predicate: said }: CommitsStatement): string | undefined {
  const about = said.output ?? said.input
  if (about === undefined) return 'it names no commit'
  if (subject.name !== about.artifact || subject.digest.gitCommit !== about.commit)
    return 'its subject is not the commit it is about'
  if ((said.chain.sequence === 1) !== (said.chain.previous === '')) return 'only the first receipt has none before it'
  return undefined
}

function isTuple(form: Form): form is readonly [Form] {
  return Array.isArray(form)
}

function join(path: string, name: string): string {
  return path === '' ? name : `${path}.${name}`
}
