/**
 * What a client asks `upload-pack`, read whole under limits and written anew: nothing the client sent reaches Git except ids, numbers and names that were
 * understood here. Sources: gitprotocol-v2, gitprotocol-pack. Pure.
 */
import { MeshError } from '../../../protocol/errors.ts'
import { isObjectId } from '../../../protocol/artifact/ref-name.ts'
import { type LsRefs, UPLOAD_CAPABILITIES } from './advertisement.ts'
import { FIXED } from './limits.ts'
import { DELIMITER, FLUSH, lineOf, type Packet, packet, packets } from '../../../protocol/artifact/pkt-line.ts'

export type FetchRequest =
  /** A client that tries whether it may come in */
  | { readonly kind: 'nothing' }
  | { readonly kind: 'ls-refs'; readonly options: LsRefs }
  | {
      readonly kind: 'fetch'
      readonly wants: readonly string[]
      /** Refs whose history it does not want, as the client knows them */
      readonly excluded: readonly string[]
      /** What Git is given. @param physical name of a ref in the repository */
      readonly encode: (physical: (ref: string) => string) => Buffer
    }

const FILTER = /^(?:blob:none|tree:0|blob:limit=\d{1,15}[kmg]?)$/
const FLAGS_V2 = ['thin-pack', 'no-progress', 'include-tag', 'ofs-delta', 'done', 'deepen-relative', 'wait-for-done']
const CLIENT_WORDS = /^(?:agent|session-id)=[\x21-\x7e]{0,512}$/

/** @throws MeshError E_BAD_REQUEST, E_TOO_LARGE */
export function readFetchRequest(version: 0 | 1 | 2, body: Buffer): FetchRequest {
  const all = packets(body)
  return version === 2 ? readV2(all) : readV0(all)
}

function readV2(all: readonly Packet[]): FetchRequest {
  const delimiter = all.findIndex(({ kind }) => kind === 'delimiter')
  const end = all.findIndex(({ kind }) => kind === 'flush')
  if (end === 0 && all.length === 1) return { kind: 'nothing' }
  if (end !== all.length - 1 || delimiter > end) throw refused('it does not end with one flush packet')
  const head = lines(all.slice(0, delimiter < 0 ? end : delimiter))
  const args = delimiter < 0 ? [] : lines(all.slice(delimiter + 1, end))
  const command = head.find((line) => line.startsWith('command='))
  for (const line of head)
    if (line !== command && line !== 'object-format=sha1' && !CLIENT_WORDS.test(line))
      throw refused(`it asks for "${shown(line)}"`)
  if (command === 'command=ls-refs') return { kind: 'ls-refs', options: readLsRefs(args) }
  if (command === 'command=fetch') return readFetchV2(args)
  throw refused(`"${shown(command ?? '')}" is no command of this server`)
}

function readLsRefs(args: readonly string[]): LsRefs {
  const prefixes: string[] = []
  for (const line of args) {
    if (line.startsWith('ref-prefix ')) prefixes.push(line.slice('ref-prefix '.length))
    else if (!['peel', 'symrefs', 'unborn'].includes(line)) throw refused(`it asks ls-refs for "${shown(line)}"`)
  }
  // A client of few words may be asking for more names than are worth comparing: then it gets all
  return {
    peel: args.includes('peel'),
    symrefs: args.includes('symrefs'),
    unborn: args.includes('unborn'),
    prefixes: prefixes.length > FIXED.commands ? [] : prefixes,
  }
}

function readFetchV2(args: readonly string[]): FetchRequest {
  const count = { wants: 0, haves: 0 }
  const wants: string[] = []
  const excluded: string[] = []
  for (const line of args) {
    if (FLAGS_V2.includes(line) || isDepth(line) || isFilter(line)) continue
    const [word = '', value = '', more] = line.split(' ')
    if (more !== undefined) throw refused(`it holds "${shown(line)}"`)
    if (word === 'deepen-not') excluded.push(value)
    else if (!isObjectId(value) || !['want', 'have', 'shallow'].includes(word))
      throw refused(`it holds "${shown(line)}"`)
    else if (word === 'want') wants.push(value)
    else count.haves += 1
  }
  checkCounts(wants.length, count.haves)
  return {
    kind: 'fetch',
    wants,
    excluded,
    encode: (physical) =>
      Buffer.concat([
        ...['command=fetch', 'object-format=sha1'].map((line) => packet(`${line}\n`)),
        DELIMITER,
        ...args.map((line) => packet(`${renamed(line, physical)}\n`)),
        FLUSH,
      ]),
  }
}

function readV0(all: readonly Packet[]): FetchRequest {
  if (all.every(({ kind }) => kind === 'flush')) return { kind: 'nothing' }
  const wants: string[] = []
  const excluded: string[] = []
  const written: ((physical: (ref: string) => string) => Buffer)[] = []
  let haves = 0
  for (const next of all) {
    if (next.kind === 'flush') written.push(() => FLUSH)
    else if (next.kind !== 'data') throw refused('it holds a packet of another version')
    else {
      const line = lineOf(next.payload)
      const kept = line.startsWith('want ') ? readWant(line, wants) : line
      if (kept.startsWith('have ') || kept.startsWith('shallow ')) haves += 1
      if (kept.startsWith('deepen-not ')) excluded.push(kept.slice('deepen-not '.length))
      else if (!isLineV0(kept)) throw refused(`it holds "${shown(kept)}"`)
      written.push((physical) => packet(`${renamed(kept, physical)}\n`))
    }
  }
  checkCounts(wants.length, haves)
  return {
    kind: 'fetch',
    wants,
    excluded,
    encode: (physical) => Buffer.concat(written.map((write) => write(physical))),
  }
}

/** Remembers the id. @returns the line with the capabilities that are offered here, which stand in the first one */
function readWant(line: string, wants: string[]): string {
  const [, oid = '', ...asked] = line.split(' ')
  if (!isObjectId(oid)) throw refused(`it wants "${shown(oid)}"`)
  wants.push(oid)
  if (wants.length > 1 && asked.length > 0) throw refused('only the first line may name capabilities')
  const known = asked.filter((word) => UPLOAD_CAPABILITIES.some((offered) => offered === word))
  return ['want', oid, ...known].join(' ')
}

function isLineV0(line: string): boolean {
  if (line === 'done' || line.startsWith('want ') || isDepth(line) || isFilter(line)) return true
  const [word = '', oid = '', more] = line.split(' ')
  return more === undefined && (word === 'have' || word === 'shallow') && isObjectId(oid)
}

function isDepth(line: string): boolean {
  return /^(?:deepen \d{1,10}|deepen-since \d{1,12})$/.test(line)
}

/** @throws MeshError E_BAD_REQUEST for a filter that is not offered */
function isFilter(line: string): boolean {
  if (!line.startsWith('filter ')) return false
  const filter = line.slice('filter '.length)
  if (FILTER.test(filter)) return true
  throw refused(`the filter "${shown(filter)}" is not offered here; blob:none, blob:limit=<n> and tree:0 are`)
}

function renamed(line: string, physical: (ref: string) => string): string {
  const word = 'deepen-not '
  return line.startsWith(word) ? word + physical(line.slice(word.length)) : line
}

function lines(all: readonly Packet[]): string[] {
  return all.map((next) => {
    if (next.kind !== 'data') throw refused('it has a packet where a line is wanted')
    return lineOf(next.payload)
  })
}

function checkCounts(wants: number, haves: number): void {
  if (wants > FIXED.wants || haves > FIXED.haves)
    throw new MeshError(
      'E_TOO_LARGE',
      `Cannot serve the fetch: it names ${wants} and ${haves} objects, ${FIXED.wants} are the most`,
    )
}

function refused(why: string): MeshError {
  return new MeshError('E_BAD_REQUEST', `Cannot serve the fetch: ${why}`)
}

/** Bytes of a client in a sentence of ours. */
function shown(text: string): string {
  return text.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, 80)
}
