/**
 * The command list in front of a pushed pack (gitprotocol-pack, "Reference Update Request"), read under limits before anything is done. Pure.
 *
 *   *( "shallow" oid )  old SP new SP ref NUL capabilities  *( old SP new SP ref )  flush  [ *( option ) flush ]  [ pack ]
 */
import { MeshError } from '../../../protocol/errors.ts'
import { isObjectId, refKind, refNameFault } from '../../../protocol/artifact/ref-name.ts'
import { RECEIVE_CAPABILITIES } from './advertisement.ts'
import { FIXED } from './limits.ts'
import { lineOf, packetAt } from '../../../protocol/artifact/pkt-line.ts'

export interface PushCommand {
  /** As sent; not yet known to be a name that is allowed */
  readonly ref: string
  /** null: it must not exist */
  readonly old: string | null
  /** null: delete */
  readonly new: string | null
}

export interface PushRequest {
  readonly commands: readonly PushCommand[]
  readonly capabilities: ReadonlySet<string>
  readonly options: readonly string[]
}

const NO_OBJECT = '0'.repeat(40)
/** Refs clients may push to; the rest is written by the system */
const PUSHED_KINDS = ['heads', 'tags', 'notes']

/**
 * Reads the list at the beginning of `bytes`. @returns undefined when more bytes are needed
 * @throws MeshError E_BAD_REQUEST, E_TOO_LARGE
 */
export function readPushRequest(bytes: Buffer): { readonly request: PushRequest; readonly end: number } | undefined {
  const list = linesUntilFlush(bytes, 0, FIXED.commands)
  if (list === undefined) return undefined
  const commands: PushCommand[] = []
  let capabilities: ReadonlySet<string> = new Set()
  for (const line of list.lines) {
    const [command = '', words] = line.split('\0')
    if (/^shallow [0-9a-f]{40}$/.test(command) && words === undefined) continue
    if (words !== undefined && commands.length > 0) throw refused('only the first line may name capabilities')
    if (words !== undefined) capabilities = readCapabilities(words)
    commands.push(readCommand(command))
  }
  const options = capabilities.has('push-options')
    ? linesUntilFlush(bytes, list.end, FIXED.pushOptions)
    : { lines: [], end: list.end }
  if (options === undefined) return undefined
  if (options.lines.some((line) => line.length > FIXED.pushOptionBytes || line.includes('\0')))
    throw new MeshError('E_TOO_LARGE', `Cannot take the push: an option has more than ${FIXED.pushOptionBytes} bytes`)
  return { request: { commands, capabilities, options: options.lines.map(asText) }, end: options.end }
}

/** Why a command cannot be carried out, whatever the state of the repository is; undefined when it can. */
export function commandFault({ ref }: PushCommand, head: string, isDelete: boolean): string | undefined {
  const fault = refNameFault(ref)
  if (fault !== undefined) return `the name is not allowed: ${fault}`
  if (!PUSHED_KINDS.includes(refKind(ref))) return `refs/${refKind(ref)}/ is not written by push`
  return isDelete && ref === head ? 'the default branch cannot be deleted' : undefined
}

function linesUntilFlush(bytes: Buffer, from: number, most: number): { lines: string[]; end: number } | undefined {
  const lines: string[] = []
  for (let at = from; ; ) {
    const next = packetAt(bytes, at)
    if (at > FIXED.commandBytes || lines.length > most)
      throw new MeshError('E_TOO_LARGE', `Cannot take the push: it has more than ${most} commands or options`)
    if (next === undefined) return undefined
    at = next.end
    if (next.packet.kind === 'flush') return { lines, end: at }
    if (next.packet.kind !== 'data') throw refused('it has a packet where a line is wanted')
    lines.push(lineOf(next.packet.payload))
  }
}

function readCapabilities(words: string): ReadonlySet<string> {
  const all = words.split(' ').filter((word) => word !== '')
  if (all.some((word) => word.startsWith('object-format=') && word !== 'object-format=sha1'))
    throw refused('its objects are not named by SHA-1')
  return new Set(all.filter((word) => RECEIVE_CAPABILITIES.some((offered) => offered === word)))
}

function readCommand(line: string): PushCommand {
  const old = line.slice(0, 40)
  const fresh = line.slice(41, 81)
  if (line[40] !== ' ' || line[81] !== ' ' || !isObjectId(old) || !isObjectId(fresh))
    throw refused('a line is not "<old> <new> <ref>"')
  return { ref: asText(line.slice(82)), old: orNull(old), new: orNull(fresh) }
}

function orNull(oid: string): string | null {
  return oid === NO_OBJECT ? null : oid
}

/** Lines are read as bytes; names and options are UTF-8. */
function asText(line: string): string {
  return Buffer.from(line, 'latin1').toString('utf8')
}

function refused(why: string): MeshError {
  return new MeshError('E_BAD_REQUEST', `Cannot take the push: ${why}`)
}
