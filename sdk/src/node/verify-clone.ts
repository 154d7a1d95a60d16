/**
 * Checks the records of an artifact in a plain clone, without a daemon and without a network: nothing but Git, to read commits, and the clone. It must hold the
 * records: git fetch origin 'refs/manyhands/*:refs/manyhands/*'. Written apart from the daemon's own check.
 *
 * A record is a commit of the empty tree at refs/manyhands/records/<writer>, its message a DSSE envelope in one line, its first parent the writer's record before. Valid:
 * signed by the writer, numbered from 1 without gaps, each naming the sha256 of the payload before it, all of one artifact, whose id is the hash of the genesis in the
 * owner's first record; and every branch and tag of the clone is where the owner's newest record, or that of another writer, says.
 */
import { execFile } from 'node:child_process'
import { createHash, verify } from 'node:crypto'
import { promisify } from 'node:util'
import type { VerifyView } from '../../../protocol/api.ts'
import { ManyhandsError } from '../errors.ts'
import { isObject } from '../shape.ts'
import { publicKeyOf } from './node-id.ts'

const RECORD_TYPE = 'application/vnd.manyhands.artifact-record.v1+json'
const RECORDS = 'refs/manyhands/records/'
const EMPTY_TREE = '4b825dc642cb6eb9a060e54bf8d69288fbee4904'
const MAX_OUTPUT = 256 << 20
const MAX_FAULTS = 100
const run = promisify(execFile)

interface Payload {
  readonly artifact: string
  readonly writer: string
  readonly sequence: number
  readonly previous: string | null
  readonly refs: Readonly<Record<string, unknown>>
  readonly genesis?: Readonly<Record<string, unknown>>
}

interface Chain {
  readonly writer: string
  readonly payloads: readonly Payload[]
}

/** @param folder of the clone. @throws ManyhandsError E_NOT_FOUND when it is no clone with records, or there is no Git */
export async function verifyArtifactClone(folder: string): Promise<VerifyView> {
  const refs = await refsOf(folder)
  const heads = [...refs].filter(([name]) => name.startsWith(RECORDS))
  if (heads.length === 0)
    throw new ManyhandsError('E_NOT_FOUND', `Cannot verify ${folder}: it holds no records`, {
      hint: "Fetch them: git fetch origin 'refs/manyhands/*:refs/manyhands/*'",
    })
  const faults: string[] = []
  const chains: Chain[] = []
  for (const [name, tip] of heads) {
    const writer = name.slice(RECORDS.length)
    chains.push({ writer, payloads: await chainOf(folder, tip, writer, (fault) => faults.push(fault)) })
  }
  const owner = ownerOf(chains, faults)
  faults.push(...refFaults(refs, owner, chains))
  const writers = chains.map(({ writer, payloads }) => ({
    writer,
    sequence: payloads.at(-1)?.sequence ?? 0,
    records: payloads.length,
  }))
  return { valid: faults.length === 0, faults: faults.slice(0, MAX_FAULTS), owner, writers }
}

async function git(folder: string, ...args: string[]): Promise<string> {
  try {
    return (
      await run('git', ['-C', folder, '-c', 'core.fsmonitor=false', ...args], {
        maxBuffer: MAX_OUTPUT,
        encoding: 'utf8',
      })
    ).stdout
  } catch (error) {
    throw new ManyhandsError('E_NOT_FOUND', `Cannot verify ${folder}: git cannot read it`, { cause: error })
  }
}

async function refsOf(folder: string): Promise<Map<string, string>> {
  const text = await git(folder, 'for-each-ref', '--format=%(objectname) %(refname)')
  return new Map(
    text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => [line.slice(41), line.slice(0, 40)]),
  )
}

/** Oldest first. */
async function chainOf(folder: string, tip: string, writer: string, fault: (text: string) => void): Promise<Payload[]> {
  const text = await git(folder, 'log', '--first-parent', '--reverse', '--format=%T %P%n%B%x00', tip)
  const payloads: Payload[] = []
  let previous: string | null = null
  for (const [index, entry] of text.split('\0\n').entries()) {
    if (entry.trim() === '') continue
    const say = (what: string): void => fault(`record ${index + 1} of ${writer}: ${what}`)
    const end = entry.indexOf('\n')
    const [tree, ...parents] = entry.slice(0, end).trim().split(' ')
    const opened = openEnvelope(entry.slice(end + 1).trimEnd())
    if (typeof opened === 'string') {
      say(opened)
      continue
    }
    const { payload, digest, signer } = opened
    if (tree !== EMPTY_TREE || parents.length > 1) say('its commit has another form')
    if (signer !== writer || payload.writer !== writer) say('it is of another writer')
    if (payload.sequence !== index + 1) say(`it has number ${payload.sequence}`)
    if (payload.previous !== previous) say('it does not name the one before')
    payloads.push(payload)
    previous = digest
  }
  return payloads
}

function openEnvelope(text: string): { payload: Payload; digest: string; signer: string } | string {
  const envelope = jsonOf(text)
  if (!isObject(envelope) || envelope['payloadType'] !== RECORD_TYPE || typeof envelope['payload'] !== 'string')
    return 'it is not an envelope of a record'
  const signatures: unknown = envelope['signatures']
  const signature: unknown = Array.isArray(signatures) && signatures.length === 1 ? signatures[0] : undefined
  if (!isObject(signature) || typeof signature['keyid'] !== 'string' || typeof signature['sig'] !== 'string')
    return 'it must have exactly one signature'
  const bytes = Buffer.from(envelope['payload'], 'base64')
  const signed = Buffer.concat([Buffer.from(`DSSEv1 ${RECORD_TYPE.length} ${RECORD_TYPE} ${bytes.length} `), bytes])
  const key = publicKeyOf(signature['keyid'])
  const sig = Buffer.from(signature['sig'], 'base64')
  if (key === undefined || sig.length !== 64 || !verify(null, signed, key, sig)) return 'its signature does not match'
  const payload = jsonOf(bytes.toString('utf8'))
  if (!isPayload(payload) || canonical(payload) !== bytes.toString('utf8')) return 'its payload is not a record'
  return { payload, digest: createHash('sha256').update(bytes).digest('hex'), signer: signature['keyid'] }
}

function isPayload(value: unknown): value is Payload {
  return (
    isObject(value) &&
    typeof value['artifact'] === 'string' &&
    typeof value['writer'] === 'string' &&
    Number.isSafeInteger(value['sequence']) &&
    (value['previous'] === null || typeof value['previous'] === 'string') &&
    isObject(value['refs']) &&
    (value['genesis'] === undefined || isObject(value['genesis']))
  )
}

/** Whose genesis gives the id that all records name. */
function ownerOf(chains: readonly Chain[], faults: string[]): string {
  const births = chains.filter(({ payloads }) => payloads[0]?.genesis !== undefined)
  const [birth] = births
  const first = birth?.payloads[0]
  if (birth === undefined || first?.genesis === undefined || births.length > 1) {
    faults.push('the records do not say whose artifact it is')
    return ''
  }
  if (first.genesis['owner'] !== birth.writer || idOf(first.genesis) !== first.artifact)
    faults.push('the id of the artifact is not the hash of its genesis')
  const foreign = chains.flatMap(({ payloads }) => payloads).filter(({ artifact }) => artifact !== first.artifact)
  if (foreign.length > 0) faults.push(`${foreign.length} records are of another artifact`)
  return birth.writer
}

/** A branch or tag of the clone that no writer's newest record puts there. */
function refFaults(refs: ReadonlyMap<string, string>, owner: string, chains: readonly Chain[]): string[] {
  const newest = [...chains]
    .sort((a) => (a.writer === owner ? -1 : 1))
    .map(({ payloads }) => payloads.at(-1)?.refs ?? {})
  return [...refs].flatMap(([name, oid]) => {
    const remote = name.startsWith('refs/remotes/origin/') && !name.endsWith('/HEAD')
    const logical = remote ? name.replace('refs/remotes/origin/', 'refs/heads/') : name
    if (!remote && !/^refs\/(?:tags|notes)\//.test(name)) return []
    return newest.some((said) => said[logical] === oid) ? [] : [`${logical} is at ${oid}, which no newest record says`]
  })
}

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567'

/** "a" and the first 160 bits of the sha256 of the genesis, in base32. */
function idOf(genesis: Readonly<Record<string, unknown>>): string {
  const digest = createHash('sha256').update(canonical(genesis)).digest('hex').slice(0, 40)
  const bits = [...digest].map((digit) => Number.parseInt(digit, 16).toString(2).padStart(4, '0')).join('')
  return `a${(bits.match(/.{5}/g) ?? []).map((five) => ALPHABET.charAt(Number.parseInt(five, 2))).join('')}`
}

/** RFC 8785 for what records hold. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (!isObject(value)) return JSON.stringify(value)
  const members = Object.keys(value)
    .sort()
    .map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`)
  return `{${members.join(',')}}`
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
