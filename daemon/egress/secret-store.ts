/**
 * Credentials at rest: one JSON file in which every value is sealed with AES-256-GCM under the key of another private file, with its name as associated data, so that
 * values cannot be read without the key nor be moved to another name. Copies of the one file say nothing. Values leave this module only towards the proxy process.
 *
 *   { "version": 1, "secrets": { "<name>": { "setAt": "<ISO 8601>", "sealed": "<base64 of nonce (12) | tag (16) | ciphertext>" } } }
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import { dirname } from 'node:path'
import * as z from 'zod'
import { EGRESS_LIMITS } from '../../protocol/egress/limits.ts'
import { EgressName } from '../../protocol/egress/rule.ts'
import { MeshError } from '../../protocol/errors.ts'
import { writeFileAtomic } from '../files/atomic-file.ts'
import { createPrivateFile, ensurePrivateFolder, readPrivateFile } from '../files/private-file.ts'
import type { SecretView } from '../../protocol/api-sandboxes.ts'
import type { SecretStore } from './egress.ts'

const KEY_BYTES = 32
const NONCE_BYTES = 12
const TAG_BYTES = 16
const FILE_BYTES = 64 << 20

const Entry = z.strictObject({ setAt: z.string(), sealed: z.base64() })
const File = z.strictObject({ version: z.literal(1), secrets: z.record(EgressName, Entry) })
type Entry = z.infer<typeof Entry>

export interface SecretFiles {
  readonly secretsFile: string
  readonly keyFile: string
}

export class SealedSecrets implements SecretStore {
  readonly #path: string
  readonly #key: Buffer
  readonly #wallMs: () => number
  #entries: ReadonlyMap<string, Entry>
  #writing: Promise<unknown> = Promise.resolve()
  /** Told after a change is durable */
  onChange: () => Promise<void> = async () => undefined

  private constructor(path: string, key: Buffer, entries: ReadonlyMap<string, Entry>, wallMs: () => number) {
    this.#path = path
    this.#key = key
    this.#entries = entries
    this.#wallMs = wallMs
  }

  /** @throws MeshError E_INSECURE_FILE, E_CONFIG when a file is damaged or the key does not fit */
  static async open(files: SecretFiles, wallMs: () => number = Date.now): Promise<SealedSecrets> {
    await ensurePrivateFolder(dirname(files.keyFile))
    const stored = await readPrivateFile(files.secretsFile, FILE_BYTES)
    // A lost key must not be replaced in silence: the values would seem to be there
    if (stored === undefined) await createPrivateFile(files.keyFile, randomBytes(KEY_BYTES))
    const key = await readPrivateFile(files.keyFile, KEY_BYTES)
    if (key?.length !== KEY_BYTES) throw damaged('its key file is missing or damaged')
    const entries = stored === undefined ? {} : parse(stored).secrets
    const secrets = new SealedSecrets(files.secretsFile, key, new Map(Object.entries(entries)), wallMs)
    for (const name of secrets.#entries.keys()) secrets.#unseal(name)
    if (stored === undefined) await secrets.#store(secrets.#entries)
    return secrets
  }

  list(): readonly SecretView[] {
    return [...this.#entries].map(([name, { setAt }]) => ({ name, setAt })).sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  async set(name: string, value: string): Promise<void> {
    if (!EgressName.safeParse(name).success)
      throw new MeshError('E_BAD_REQUEST', 'Cannot set the secret: a name is 1 to 64 letters, digits, "." "_" "-"')
    const bytes = Buffer.from(value, 'utf8')
    if (bytes.length > EGRESS_LIMITS.secretBytes)
      throw new MeshError(
        'E_TOO_LARGE',
        `Cannot set the secret: it has ${bytes.length} bytes and may have ${EGRESS_LIMITS.secretBytes}`,
      )
    if (value === '' || /[\r\n\0]/.test(value))
      throw new MeshError(
        'E_BAD_REQUEST',
        'Cannot set the secret: it is put into a header, so it has no line breaks and is not empty',
        {
          hint: 'A final line break may come from the file or pipe it was read from',
        },
      )
    await this.#change((entries) => {
      if (!entries.has(name) && entries.size >= EGRESS_LIMITS.secrets)
        throw new MeshError('E_OVERLOADED', `Cannot set the secret: this node keeps ${EGRESS_LIMITS.secrets} at most`)
      entries.set(name, { setAt: new Date(this.#wallMs()).toISOString(), sealed: this.#seal(name, bytes) })
    })
  }

  async remove(name: string): Promise<boolean> {
    let found = false
    await this.#change((entries) => {
      found = entries.delete(name)
    })
    return found
  }

  /** Values of those that exist. For the proxy process alone. */
  reveal(names: Iterable<string>): Record<string, string> {
    const found = [...new Set(names)].filter((name) => this.#entries.has(name))
    return Object.fromEntries(found.map((name) => [name, this.#unseal(name)]))
  }

  /** 32 bytes that follow from this node's key and `purpose`, and tell nothing of the key. */
  derive(purpose: string): Buffer {
    return Buffer.from(hkdfSync('sha256', this.#key, '', `manyhands egress\0${purpose}`, 32))
  }

  /** Changes follow each other; each is durable before it is seen. */
  #change(edit: (entries: Map<string, Entry>) => void): Promise<void> {
    const done = this.#writing.then(async () => {
      const entries = new Map(this.#entries)
      edit(entries)
      await this.#store(entries)
      this.#entries = entries
      await this.onChange()
    })
    this.#writing = done.catch(() => undefined)
    return done
  }

  async #store(entries: ReadonlyMap<string, Entry>): Promise<void> {
    try {
      await writeFileAtomic(this.#path, `${JSON.stringify({ version: 1, secrets: Object.fromEntries(entries) })}\n`)
    } catch (cause) {
      throw new MeshError('E_STORAGE', 'The secret cannot be stored: the disk refuses', { cause })
    }
  }

  #seal(name: string, value: Buffer): string {
    const nonce = randomBytes(NONCE_BYTES)
    const cipher = createCipheriv('aes-256-gcm', this.#key, nonce).setAAD(associated(name))
    const text = Buffer.concat([cipher.update(value), cipher.final()])
    return Buffer.concat([nonce, cipher.getAuthTag(), text]).toString('base64')
  }

  #unseal(name: string): string {
    const bytes = Buffer.from(this.#entries.get(name)?.sealed ?? '', 'base64')
    try {
      const decipher = createDecipheriv('aes-256-gcm', this.#key, bytes.subarray(0, NONCE_BYTES), {
        authTagLength: TAG_BYTES,
      })
      decipher.setAAD(associated(name)).setAuthTag(bytes.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES))
      return Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES + TAG_BYTES)), decipher.final()]).toString(
        'utf8',
      )
    } catch {
      throw damaged(`the secret ${name} does not open with the key`)
    }
  }
}

const associated = (name: string): Buffer => Buffer.from(`manyhands secret\0${name}`, 'utf8')

function parse(bytes: Buffer): z.infer<typeof File> {
  try {
    return File.parse(JSON.parse(bytes.toString('utf8')))
  } catch {
    throw damaged('it is not in the form it was written in')
  }
}

function damaged(why: string): MeshError {
  return new MeshError('E_CONFIG', `Cannot use the store of secrets: ${why}`, {
    hint: 'Restore both files from one copy, or remove both and set the secrets again',
  })
}
