/** Tokens of artifacts, in the journal: made, listed without their secrets, revoked. Nothing of them is held in memory. */
import { createHash, randomBytes } from 'node:crypto'
import { MeshError } from '../../../protocol/errors.ts'
import { decodeGitToken, encodeGitToken, GIT_TOKEN, type GitToken } from '../../../protocol/artifact/git-token.ts'
import type { Attribution } from '../../../protocol/artifact/record.ts'
import type { Journal, TableWrite } from '../../journal/journal.ts'

/** Kinds of record this module appends: the journal must know them. */
export const GIT_TOKEN_RECORDS = ['git-token.made', 'git-token.revoked'] as const

export interface NewGitToken {
  /** For people. @default "token" */
  readonly name?: string
  readonly access: 'read' | 'write'
  /** Milliseconds it is good for. @default for ever */
  readonly ttlMs?: number
  /** Stands in the records of its pushes. @default subject: the name */
  readonly by?: Attribution
}

const TABLE = 'git-token'
const TABLE_OF = 'git-token-of'
/** Of one artifact: a list is read whole */
const MAX_TOKENS = 1_000

export class GitTokens {
  readonly #journal: Journal
  readonly #wallMs: () => number

  constructor(journal: Journal, wallMs: () => number = Date.now) {
    this.#journal = journal
    this.#wallMs = wallMs
  }

  /**
   * @param artifact id. @returns the token and its secret: the only time it is seen
   * @throws MeshError E_OVERLOADED when the artifact has too many, E_BAD_REQUEST, E_STORAGE
   */
  async create(artifact: string, made: NewGitToken): Promise<{ readonly token: GitToken; readonly secret: string }> {
    const { name = 'token', access, ttlMs, by = { subject: name } } = made
    if (name.length === 0 || name.length > 64 || (ttlMs !== undefined && !(ttlMs > 0 && Number.isSafeInteger(ttlMs))))
      throw new MeshError(
        'E_BAD_REQUEST',
        'Cannot make the token: a name of 1 to 64 characters and a positive lifetime are wanted',
      )
    const held = await this.list(artifact)
    if (held.length >= MAX_TOKENS && !(await this.#dropExpired(artifact, held)))
      throw new MeshError('E_OVERLOADED', `Cannot make the token: the artifact has ${MAX_TOKENS} already`, {
        hint: 'Revoke those not in use',
      })
    const secret = `mha_${randomBytes(32).toString('base64url')}`
    const now = this.#wallMs()
    const expiry = ttlMs === undefined ? {} : { expiresAt: now + ttlMs }
    const id = randomBytes(8).toString('hex')
    const token: GitToken = { v: 1, id, artifact, name, access, createdAt: now, ...expiry, by }
    const hash = hashOf(secret)
    await this.#journal.append({
      type: 'git-token.made',
      body: Buffer.from(`${artifact}/${id}`),
      writes: [
        { table: TABLE, key: hash, value: encodeGitToken(token) },
        { table: TABLE_OF, key: `${artifact}/${id}`, value: Buffer.from(hash) },
      ],
    })
    return { token, secret }
  }

  /** Those of an artifact, expired ones too, oldest first. */
  async list(artifact: string): Promise<readonly GitToken[]> {
    const rows = await this.#journal.range(TABLE_OF, { prefix: `${artifact}/`, limit: MAX_TOKENS })
    return rows
      .flatMap(({ value }) => this.#read(Buffer.from(value).toString('latin1')) ?? [])
      .sort((a, b) => a.createdAt - b.createdAt)
  }

  /** @throws MeshError E_NOT_FOUND, E_STORAGE */
  async revoke(artifact: string, id: string): Promise<void> {
    const hash = /^[0-9a-f]{16}$/.test(id) ? this.#journal.get(TABLE_OF, `${artifact}/${id}`) : undefined
    if (hash === undefined)
      throw new MeshError('E_NOT_FOUND', `Cannot revoke the token: the artifact has none "${id.slice(0, 64)}"`, {
        hint: 'See those there are with: manyhands artifact token ls <artifact>',
      })
    await this.#drop(artifact, [{ id, hash: Buffer.from(hash).toString('latin1') }])
  }

  /** Revokes all of an artifact that is removed. @throws MeshError E_STORAGE */
  async forget(artifact: string): Promise<void> {
    // Those made at the same moment can be a few more than the most
    for (;;) {
      const rows = await this.#journal.range(TABLE_OF, { prefix: `${artifact}/`, limit: MAX_TOKENS })
      if (rows.length === 0) return
      const tokens = rows.map(({ key, value }) => ({
        id: key.slice(artifact.length + 1),
        hash: Buffer.from(value).toString('latin1'),
      }))
      await this.#drop(artifact, tokens)
    }
  }

  /** @returns the token of a secret; undefined when it is wrong, revoked or has expired */
  check(secret: string): GitToken | undefined {
    if (!GIT_TOKEN.test(secret)) return undefined
    const token = this.#read(hashOf(secret))
    return token === undefined || this.#hasExpired(token) ? undefined : token
  }

  #hasExpired({ expiresAt }: GitToken): boolean {
    return expiresAt !== undefined && expiresAt <= this.#wallMs()
  }

  /** They stay in the list until their place is needed. @returns whether there were any */
  async #dropExpired(artifact: string, held: readonly GitToken[]): Promise<boolean> {
    const expired = held.flatMap((token) => {
      const hash = this.#hasExpired(token) ? this.#journal.get(TABLE_OF, `${artifact}/${token.id}`) : undefined
      return hash === undefined ? [] : [{ id: token.id, hash: Buffer.from(hash).toString('latin1') }]
    })
    if (expired.length > 0) await this.#drop(artifact, expired)
    return expired.length > 0
  }

  #read(hash: string): GitToken | undefined {
    const value = this.#journal.get(TABLE, hash)
    return value === undefined ? undefined : decodeGitToken(value)
  }

  async #drop(artifact: string, tokens: readonly { id: string; hash: string }[]): Promise<void> {
    const writes = tokens.flatMap(({ id, hash }): TableWrite[] => [
      { table: TABLE, key: hash },
      { table: TABLE_OF, key: `${artifact}/${id}` },
    ])
    await this.#journal.append({ type: 'git-token.revoked', body: Buffer.from(artifact), writes })
  }
}

function hashOf(secret: string): string {
  return createHash('sha256').update(secret).digest('hex')
}
