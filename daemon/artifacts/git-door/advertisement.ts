/**
 * What the door says first, in the three versions of the protocol (gitprotocol-http, gitprotocol-pack, gitprotocol-v2). Made here from the refs the store shows:
 * a clone costs no process before its pack. Pure.
 */
import { VERSION } from '../../../protocol/version.ts'
import type { Service } from './door-path.ts'
import { FLUSH, packet } from '../../../protocol/artifact/pkt-line.ts'

export interface ShownRefs {
  /** Object id by name, without HEAD */
  readonly refs: ReadonlyMap<string, string>
  /** The branch HEAD stands for, which need not exist */
  readonly head: string
  /** What an annotated tag leads to, by the tag's object id */
  readonly peeled: ReadonlyMap<string, string>
}

export type ProtocolVersion = 0 | 1 | 2

const AGENT = `agent=manyhands/${VERSION}`
const NO_OBJECT = '0'.repeat(40)
const FORMAT = 'object-format=sha1'
export const V2_CAPABILITIES = [AGENT, 'ls-refs=unborn', 'fetch=shallow wait-for-done filter', FORMAT] as const
/** Offered in versions 0 and 1; those before `symref` are also what a request may ask for */
export const UPLOAD_CAPABILITIES = [
  'multi_ack',
  'thin-pack',
  'side-band',
  'side-band-64k',
  'ofs-delta',
  'shallow',
  'deepen-since',
  'deepen-not',
  'deepen-relative',
  'no-progress',
  'include-tag',
  'multi_ack_detailed',
  'allow-tip-sha1-in-want',
  'allow-reachable-sha1-in-want',
  'no-done',
  'filter',
] as const
export const RECEIVE_CAPABILITIES = [
  'report-status',
  'report-status-v2',
  'delete-refs',
  'side-band-64k',
  'quiet',
  'atomic',
  'ofs-delta',
  'push-options',
] as const

/** @param header of the request, e.g. "version=2"; what is not understood counts as 0 */
export function protocolVersion(header: string | undefined): ProtocolVersion {
  const versions = (header ?? '').split(':').map((part) => /^version=([12])$/.exec(part)?.[1])
  return versions.includes('2') ? 2 : versions.includes('1') ? 1 : 0
}

export function advertisement(service: Service, version: ProtocolVersion, shown: ShownRefs): Buffer {
  if (service === 'git-upload-pack' && version === 2)
    return Buffer.concat(['version 2\n', ...V2_CAPABILITIES.map((line) => `${line}\n`)].map(packet).concat(FLUSH))
  const lines = service === 'git-upload-pack' ? uploadLines(shown) : receiveLines(shown)
  const first = version === 0 ? [] : [packet('version 1\n')]
  return Buffer.concat([packet(`# service=${service}\n`), FLUSH, ...first, ...lines.map(packet), FLUSH])
}

function uploadLines({ refs, head, peeled }: ShownRefs): string[] {
  const tip = refs.get(head)
  const names = [...refs].sort(byName).flatMap(([name, oid]) => {
    const target = peeled.get(oid)
    return target === undefined ? [`${oid} ${name}`] : [`${oid} ${name}`, `${target} ${name}^{}`]
  })
  const symref = tip === undefined ? [] : [`symref=HEAD:${head}`]
  const capabilities = [...UPLOAD_CAPABILITIES, ...symref, FORMAT, AGENT]
  return withCapabilities(tip === undefined ? names : [`${tip} HEAD`, ...names], capabilities)
}

function receiveLines({ refs }: ShownRefs): string[] {
  const names = [...refs].sort(byName).map(([name, oid]) => `${oid} ${name}`)
  return withCapabilities(names, [...RECEIVE_CAPABILITIES, FORMAT, AGENT])
}

function withCapabilities(lines: readonly string[], capabilities: readonly string[]): string[] {
  const [first = `${NO_OBJECT} capabilities^{}`, ...rest] = lines
  return [`${first}\0${capabilities.join(' ')}\n`, ...rest.map((line) => `${line}\n`)]
}

export interface LsRefs {
  readonly peel: boolean
  readonly symrefs: boolean
  readonly unborn: boolean
  /** Empty: everything */
  readonly prefixes: readonly string[]
}

/** The answer to `ls-refs` of version 2. */
export function refListing({ refs, head, peeled }: ShownRefs, { peel, symrefs, unborn, prefixes }: LsRefs): Buffer {
  const wanted = (name: string): boolean => prefixes.length === 0 || prefixes.some((prefix) => name.startsWith(prefix))
  const tip = refs.get(head)
  const target = symrefs ? ` symref-target:${head}` : ''
  const lines: string[] = []
  if (wanted('HEAD')) {
    if (tip !== undefined) lines.push(`${tip} HEAD${target}\n`)
    else if (unborn) lines.push(`unborn HEAD${target}\n`)
  }
  for (const [name, oid] of [...refs].sort(byName)) {
    if (!wanted(name)) continue
    const inner = peel ? peeled.get(oid) : undefined
    lines.push(inner === undefined ? `${oid} ${name}\n` : `${oid} ${name} peeled:${inner}\n`)
  }
  return Buffer.concat([...lines.map(packet), FLUSH])
}

function byName([a]: readonly [string, string], [b]: readonly [string, string]): number {
  return a < b ? -1 : a > b ? 1 : 0
}
