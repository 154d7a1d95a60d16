/** What a client submits as a program, checked and brought into the one form that executors, digests and receipts know. */
import { createHash } from 'node:crypto'
import type { ProgramInput } from '../../protocol/api.ts'
import { MeshError } from '../../protocol/errors.ts'
import type { ModuleType, Program } from '../../protocol/job.ts'
import { LIMITS } from '../../protocol/limits.ts'
import { isModuleName } from './resolve.ts'
import { stripTypes } from './strip-types.ts'

type Module = Program['modules'][number]

const MAINS = ['main.ts', 'main.js', 'main.mts', 'main.mjs', 'index.ts', 'index.js', 'index.mts', 'index.mjs']
const NAMES_HINT = 'Names are relative paths like "main.ts" or "lib/util.js", ending in .js .mjs .ts .mts .json or .txt'

/**
 * @throws MeshError E_BAD_REQUEST when it is not a program, E_TOO_LARGE beyond `LIMITS.program*`, E_SYNTAX (with `details.failure`) when TypeScript
 *   does not parse. JavaScript is not parsed here: the executor does that, with the same kind of answer.
 */
export function normaliseProgram(input: ProgramInput): Program {
  const sources = sourcesOf(input)
  checkSizes(sources)
  const main = mainOf(input, sources)
  const modules = [...sources].map(([name, source]) => moduleOf(name, source))
  // The order of the map a client sent means nothing.
  modules.sort((a, b) => (a.name < b.name ? -1 : 1))
  return { main, modules }
}

/**
 * sha256, hex, of the canonical form: `manyhands-program/1`, the name of the main module, then for each module in the order of names its name,
 * type and source; each text preceded by its length in bytes as a 4 byte little-endian number.
 */
export function programDigest(program: Program): string {
  const hash = createHash('sha256')
  const add = (text: string) => {
    const bytes = Buffer.from(text, 'utf8')
    const length = Buffer.alloc(4)
    length.writeUInt32LE(bytes.length)
    hash.update(length).update(bytes)
  }
  add('manyhands-program/1')
  add(program.main)
  const modules = [...program.modules].sort((a, b) => (a.name < b.name ? -1 : 1))
  for (const { name, type, source } of modules) for (const text of [name, type, source]) add(text)
  return hash.digest('hex')
}

function sourcesOf({ source, filename, modules }: ProgramInput): Map<string, string> {
  if ((source === undefined) === (modules === undefined))
    throw bad('a program is either one `source` or several `modules`')
  if (source !== undefined && typeof source !== 'string') throw bad(`source must be text: found ${typeof source}`)
  const entries: [string, unknown][] =
    source === undefined ? Object.entries(modules ?? {}) : [[nameFor(filename), source]]
  if (entries.length === 0) throw bad('it has no modules')
  if (entries.length > LIMITS.programModules)
    throw tooLarge(`it has ${entries.length} modules, ${LIMITS.programModules} is the most`)
  return new Map(entries.map(([name, text]) => [name, checkModule(name, text)]))
}

/** The name of a single module: the last part of the file's path, as the rest is nobody's business. */
function nameFor(filename: string | undefined): string {
  if (filename === undefined) return 'main.js'
  const name = filename.split(/[\\/]/).at(-1) ?? ''
  const clean = name
    .replace(/[^\w@+~.-]/g, '_')
    .replace(/^[.-]+/, '')
    .replace(/\.{2,}/g, '.')
  return /\.(?:js|mjs|ts|mts)$/.test(clean) ? clean : `${clean === '' ? 'main' : clean}.js`
}

function checkModule(name: string, source: unknown): string {
  if (Buffer.byteLength(name) > LIMITS.moduleNameBytes)
    throw tooLarge(`the name of a module has more than ${LIMITS.moduleNameBytes} bytes`)
  if (!isModuleName(name)) throw bad(`${JSON.stringify(name)} cannot name a module`, NAMES_HINT)
  if (typeof source !== 'string')
    throw bad(`module ${name} must be text: found ${source === null ? 'null' : typeof source}`)
  if (!source.isWellFormed()) throw bad(`module ${name} holds half a surrogate pair, which no text file can hold`)
  return source
}

function checkSizes(sources: ReadonlyMap<string, string>): void {
  let bytes = 0
  for (const source of sources.values()) bytes += Buffer.byteLength(source)
  if (bytes > LIMITS.programBytes)
    throw tooLarge(`its modules have ${bytes} bytes together, ${LIMITS.programBytes} is the most`)
}

function mainOf({ main }: ProgramInput, sources: ReadonlyMap<string, string>): string {
  const code = [...sources.keys()].filter((name) => typeOf(name) === 'js')
  if (main !== undefined) {
    if (code.includes(main)) return main
    throw bad(
      `main is ${JSON.stringify(main)}, which is no code module of the program`,
      `Code modules: ${code.slice(0, 10).join(', ') || 'none'}`,
    )
  }
  const found = code.length === 1 ? code[0] : MAINS.find((name) => sources.has(name))
  if (found !== undefined) return found
  throw bad('it does not say which module is main', 'Give `main`, or name a module main.ts or main.js')
}

function moduleOf(name: string, source: string): Module {
  const type = typeOf(name)
  if (type === 'json') checkJson(name, source)
  return { name, type, source: /\.m?ts$/.test(name) ? stripTypes(name, source).code : source }
}

function checkJson(name: string, source: string): void {
  try {
    JSON.parse(source)
  } catch (error) {
    throw bad(
      `module ${name} is not JSON: ${error instanceof Error ? error.message.slice(0, 200) : 'it does not parse'}`,
    )
  }
}

function typeOf(name: string): ModuleType {
  return name.endsWith('.json') ? 'json' : name.endsWith('.txt') ? 'text' : 'js'
}

function bad(what: string, hint?: string): MeshError {
  return new MeshError('E_BAD_REQUEST', `The program is not valid: ${what}`, hint === undefined ? {} : { hint })
}

function tooLarge(what: string): MeshError {
  return new MeshError('E_TOO_LARGE', `The program is too large: ${what}`)
}
