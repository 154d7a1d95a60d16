import { randomBytes } from 'node:crypto'
import { MeshError } from '../../../../../protocol/errors.ts'
import { LIMITS } from '../../../../../protocol/limits.ts'
import { errnoError } from '../errno.ts'
import type { FileChange, FileEntry, FileStat, FileType, GuestFiles } from '../guest-connection.ts'
import { fileTime } from '../file-time.ts'
import type { ShellLane } from './lane.ts'
import { PAYLOAD_BYTES, printfFormat, quote, takePayload } from './program.ts'

const FETCH_BYTES = 256 << 10
const STAT = `stat -c '%f %s %Y %u %g'`
const TYPES: Readonly<Record<number, FileType>> = { 0o10: 'file', 0o04: 'folder', 0o12: 'symlink' }

/** Files by the shell's commands. A link that is put into a path between the look at it and its use is not noticed: the guest then reads its own. */
export class ShellFiles implements GuestFiles {
  readonly #lane: ShellLane

  constructor(lane: ShellLane) {
    this.#lane = lane
  }

  async read(path: string, options: { maxBytes?: number; signal?: AbortSignal } = {}): Promise<Uint8Array> {
    const most = options.maxBytes ?? LIMITS.guestFileBytes
    const parts: Uint8Array[] = []
    let have = 0
    for await (const part of this.readStream(path, options)) {
      have += part.length
      if (have > most) {
        throw new MeshError('E_TOO_LARGE', `Cannot read "${path}": it has more than ${most} bytes`, {
          hint: 'Stream it instead',
        })
      }
      parts.push(part)
    }
    return Buffer.concat(parts, have)
  }

  async *readStream(
    path: string,
    options: { offset?: number; signal?: AbortSignal } = {},
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const file = word(path)
    for (let offset = options.offset ?? 0; ; ) {
      if (options.signal?.aborted === true) throw new MeshError('E_CANCELED', `Cannot read "${path}": it was canceled`)
      const bytes = await this.#ask(
        `Cannot read "${path}"`,
        `mh_file ${file} && tail -c +${Math.trunc(offset) + 1} -- ${file} | head -c ${FETCH_BYTES}`,
      )
      if (bytes.length > 0) yield new Uint8Array(bytes)
      if (bytes.length < FETCH_BYTES) return
      offset += bytes.length
    }
  }

  async write(
    path: string,
    content: Uint8Array | string | AsyncIterable<Uint8Array>,
    options: { mode?: number; signal?: AbortSignal } = {},
  ): Promise<void> {
    const doing = `Cannot write "${path}"`
    const file = word(path)
    const folder = word(path.replace(/\/[^/]*$/, '') || '/')
    const fresh = word(`${path.replace(/\/[^/]*$/, '')}/.manyhands-${randomBytes(6).toString('hex')}.tmp`)
    const fits = `if [ -e ${file} ]; then mh_file ${file}; fi`
    await this.#ask(
      doing,
      `mh_path ${file} && mh_made ${folder} && ${fits} && { printf '' >${fresh} || (exit 13); } 2>/dev/null`,
    )
    try {
      for await (const part of typeof content === 'string' ? [Buffer.from(content)] : pieces(content)) {
        if (options.signal?.aborted === true) throw new MeshError('E_CANCELED', `${doing}: it was canceled`)
        for (let at = 0; at < part.length; at += PAYLOAD_BYTES) {
          await this.#append(doing, fresh, part.subarray(at, at + PAYLOAD_BYTES))
        }
      }
      const mode = options.mode === undefined ? undefined : (options.mode & 0o777).toString(8)
      const old = `[ -e ${file} ] && chmod "$(stat -c %a -- ${file})" ${fresh}; true`
      await this.#ask(doing, `{ ${mode === undefined ? old : `chmod ${mode} ${fresh}`}; } && mv -f -- ${fresh} ${file}`)
    } catch (error) {
      await this.#lane.run(`rm -f -- ${fresh}`).catch(() => undefined)
      throw error
    }
  }

  async list(path: string, options: { maxEntries?: number } = {}): Promise<readonly FileEntry[]> {
    const most = Math.min(options.maxEntries ?? LIMITS.guestEntries, LIMITS.guestEntries)
    const folder = word(path)
    const doing = `Cannot list "${path}"`
    // a name cannot hold a slash, so one ends it, whatever else is in it
    const all = `set -- .* *; k=$#; while [ $k -gt 0 ]; do a=$1; shift; k=$((k-1)); case $a in .|..) ;; *) { [ -e "$a" ] || [ -L "$a" ]; } && set -- "$@" "$a";; esac; done`
    const script = `mh_path ${folder} && { [ -d ${folder} ] || { [ -e ${folder} ] && (exit 20) || (exit 2); }; } && ( cd -- ${folder} || exit 13; ${all}; [ $# -le ${most} ] || exit 27; [ $# -eq 0 ] || ${STAT}' %n/' -- "$@" )`
    const text = (await this.#ask(doing, script)).toString()
    const entries = text.split('/\n').slice(0, -1).map(readEntry)
    if (entries.some((entry) => entry === undefined))
      throw new MeshError('E_PROTOCOL', `${doing}: the answer cannot be read`)
    return entries.filter((entry) => entry !== undefined).sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  async stat(path: string): Promise<FileStat> {
    const file = word(path)
    const folder = word(path.replace(/\/[^/]*$/, '') || '/')
    const doing = `Cannot look at "${path}"`
    const script = `mh_path ${folder} && { [ -e ${file} ] || [ -L ${file} ] || (exit 2); } && ${STAT} -- ${file}`
    const entry = readEntry(`${(await this.#ask(doing, script)).toString().trim()} x`)
    if (entry === undefined) throw new MeshError('E_PROTOCOL', `${doing}: the answer cannot be read`)
    const { name: _, ...stat } = entry
    return stat
  }

  async mkdir(path: string): Promise<void> {
    await this.#ask(`Cannot make the folder "${path}"`, `mh_made ${word(path)}`)
  }

  async move(from: string, to: string): Promise<void> {
    const folder = word(to.replace(/\/[^/]*$/, '') || '/')
    const [old, fresh] = [word(from), word(to)]
    const script = `mh_path ${word(from.replace(/\/[^/]*$/, '') || '/')} && mh_path ${fresh} && mh_made ${folder} && { [ -e ${old} ] || [ -L ${old} ] || (exit 2); } && { [ ! -d ${fresh} ] || (exit 17); } && { mv -f -- ${old} ${fresh} 2>/dev/null || (exit 13); }`
    await this.#ask(`Cannot move "${from}" to "${to}"`, script)
  }

  async remove(path: string, options: { recursive?: boolean } = {}): Promise<void> {
    const file = word(path)
    const one = `if [ -d ${file} ] && [ ! -L ${file} ]; then rmdir -- ${file} 2>/dev/null || (exit 39); else rm -f -- ${file} 2>/dev/null || (exit 13); fi`
    const all = `{ rm -rf -- ${file} 2>/dev/null || (exit 13); }`
    const there = `mh_path ${word(path.replace(/\/[^/]*$/, '') || '/')} && { [ -e ${file} ] || [ -L ${file} ] || (exit 2); }`
    await this.#ask(`Cannot remove "${path}"`, `${there} && ${options.recursive === true ? all : one}`)
  }

  watch(path: string): AsyncIterable<FileChange> {
    const refused = new MeshError(
      'E_GUEST_FEATURE',
      `Cannot watch "${path}": the agent of this sandbox is the simple one`,
    )
    return { [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(refused) }) }
  }

  async #append(doing: string, file: string, bytes: Uint8Array): Promise<void> {
    if (this.#lane.takesPayload) await this.#ask(doing, `${takePayload(bytes.length, file)} || (exit 28)`, bytes)
    else await this.#ask(doing, `printf ${printfFormat(bytes)} >>${file} 2>/dev/null || (exit 28)`)
  }

  /** @throws MeshError by the status, an errno */
  async #ask(doing: string, script: string, payload?: Uint8Array): Promise<Buffer> {
    const { status, bytes } = await this.#lane.run(script, payload)
    if (status !== 0) throw errnoError(status, doing)
    return bytes
  }
}

async function* pieces(content: Uint8Array | AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  if (content instanceof Uint8Array) yield content
  else yield* content
}

/** A path as a word of the shell. @throws MeshError E_BAD_REQUEST, E_SYMLINK */
function word(path: string): string {
  if (!path.startsWith('/') || path.includes('\0') || Buffer.byteLength(path) > LIMITS.guestPathBytes) {
    throw new MeshError('E_BAD_REQUEST', `Cannot use the path "${path}": it must be absolute, and not too long`)
  }
  if (path.split('/').includes('..')) {
    throw new MeshError('E_SYMLINK', `Cannot use the path "${path}": it holds ".."`, {
      hint: 'Name the file by its real path',
    })
  }
  return quote(path)
}

/** "hex-mode bytes seconds uid gid name" */
function readEntry(line: string): FileEntry | undefined {
  const found = /^([0-9a-f]{1,8}) (\d{1,16}) (-?\d{1,16}) (\d{1,10}) (\d{1,10}) ([^/]+)$/s.exec(line)
  if (found === null) return undefined
  const mode = Number.parseInt(found[1] ?? '', 16)
  return {
    name: found[6] ?? '',
    type: TYPES[mode >> 12] ?? 'other',
    mode: mode & 0o7777,
    bytes: Number(found[2]),
    modifiedMs: fileTime(Number(found[3]) * 1000),
    uid: Number(found[4]),
    gid: Number(found[5]),
  }
}
