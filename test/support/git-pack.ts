/** Objects, packs and pushes made by hand, to say what no honest client says. */
import { createHash } from 'node:crypto'
import { request, type IncomingMessage } from 'node:http'
import { deflateSync } from 'node:zlib'
import type { DoorKit } from './git-door.ts'

export type Kind = 'commit' | 'tree' | 'blob' | 'tag'
export interface Made {
  readonly kind: Kind
  readonly content: Buffer
  readonly oid: string
}

const TYPES: Readonly<Record<Kind, number>> = { commit: 1, tree: 2, blob: 3, tag: 4 }
export const ZERO = '0'.repeat(40)

export function made(kind: Kind, content: Buffer | string): Made {
  const bytes = Buffer.from(content)
  const oid = createHash('sha1').update(`${kind} ${bytes.length}\0`).update(bytes).digest('hex')
  return { kind, content: bytes, oid }
}

export const blob = (content: Buffer | string): Made => made('blob', content)

/** In the order given. @param entries mode, name, what it names */
export function tree(...entries: readonly (readonly [mode: string, name: string, of: Made])[]): Made {
  const rows = entries.map(([mode, name, { oid }]) =>
    Buffer.concat([Buffer.from(`${mode} ${name}\0`), Buffer.from(oid, 'hex')]),
  )
  return made('tree', Buffer.concat(rows))
}

export function commitOf(root: Made, message = 'made', parents: readonly string[] = []): Made {
  const who = 'a <a@example.org> 1700000000 +0000'
  const lines = [`tree ${root.oid}`, ...parents.map((oid) => `parent ${oid}`), `author ${who}`, `committer ${who}`]
  return made('commit', `${lines.join('\n')}\n\n${message}\n`)
}

/** Type and size of an entry (gitformat-pack): 4 bits of size beside the type, then 7 a byte. */
export function entryHead(type: number, size: number): Buffer {
  const bytes = [(type << 4) | (size & 15)]
  for (let rest = Math.floor(size / 16); rest > 0; rest = Math.floor(rest / 128)) {
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) | 0x80
    bytes.push(rest % 128)
  }
  return Buffer.from(bytes)
}

/** @param entries whole entries, compressed. @param count as the header claims */
export function packOf(entries: readonly Buffer[], count = entries.length): Buffer {
  const head = Buffer.alloc(12)
  head.write('PACK')
  head.writeUInt32BE(2, 4)
  head.writeUInt32BE(count, 8)
  const body = Buffer.concat([head, ...entries])
  return Buffer.concat([body, createHash('sha1').update(body).digest()])
}

export function entry({ kind, content }: Made): Buffer {
  return Buffer.concat([entryHead(TYPES[kind], content.length), deflateSync(content)])
}

export const pack = (...objects: readonly Made[]): Buffer => packOf(objects.map(entry))

export const line = (text: string): Buffer =>
  Buffer.from((Buffer.byteLength(text) + 4).toString(16).padStart(4, '0') + text)

export interface Command {
  readonly ref: string
  readonly old?: string
  readonly new: string
}

/** Body of a push. */
export function pushBody(commands: readonly Command[], bytes: Buffer, capabilities = 'report-status'): Buffer {
  const lines = commands.map(({ ref, old = ZERO, new: fresh }, index) =>
    line(`${old} ${fresh} ${ref}${index === 0 ? `\0${capabilities}` : ''}\n`),
  )
  return Buffer.concat([...lines, Buffer.from('0000'), bytes])
}

export interface Answer {
  readonly status: number
  readonly text: string
}

export interface Knock {
  readonly method?: string
  readonly path: string
  readonly body?: Buffer
  readonly headers?: Readonly<Record<string, string>>
  readonly token?: string | undefined
}

/** One HTTP request, its path exactly as given. Resolves with what came, also when the connection was cut in the middle of the answer. */
export function knock(
  kit: DoorKit,
  { method = 'GET', path, body, headers = {}, token = 'admin' }: Knock,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const all = { authorization: `Bearer ${token}`, ...headers }
    const asked = request(
      { host: '127.0.0.1', port: kit.port, method, path, headers: all, agent: false },
      (response: IncomingMessage) => {
        let text = ''
        const done = (): void => resolve({ status: response.statusCode ?? 0, text })
        response.setEncoding('latin1').on('data', (chunk: string) => {
          text += chunk
        })
        response.once('end', done).once('error', done)
      },
    )
    asked.once('error', reject)
    asked.end(body)
  })
}

export function push(
  kit: DoorKit,
  name: string,
  body: Buffer,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  const type = { 'content-type': 'application/x-git-receive-pack-request' }
  return knock(kit, {
    method: 'POST',
    path: `/git/${name}.git/git-receive-pack`,
    body,
    headers: { ...type, ...headers },
  })
}

/** Pushes objects, the last of them a commit, to a branch. */
export function pushObjects(kit: DoorKit, name: string, ref: string, ...objects: readonly Made[]): Promise<Answer> {
  return push(kit, name, pushBody([{ ref, new: objects.at(-1)?.oid ?? '' }], pack(...objects)))
}

/** A fetch in version 2. */
export function fetchV2(kit: DoorKit, name: string, ...args: readonly string[]): Promise<Answer> {
  const head = [line('command=fetch\n'), line('object-format=sha1\n'), Buffer.from('0001')]
  return upload(
    kit,
    name,
    Buffer.concat([...head, ...args.map((text) => line(`${text}\n`)), Buffer.from('0000')]),
    'version=2',
  )
}

export function upload(
  kit: DoorKit,
  name: string,
  body: Buffer,
  protocol = 'version=0',
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  const type = { 'content-type': 'application/x-git-upload-pack-request', 'git-protocol': protocol }
  return knock(kit, {
    method: 'POST',
    path: `/git/${name}.git/git-upload-pack`,
    body,
    headers: { ...type, ...headers },
  })
}
