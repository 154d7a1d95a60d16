/**
 * Who may call the local API. The admin token is a private file (0600), made at the first start; whoever can read it is the owner of the node.
 * Further tokens have a name and an access level and are kept as hashes in `tokens.json`: {"tokens": [{"name", "access", "sha256", "createdAt"}]}.
 * A token is 256 random bits, so one SHA-256 is enough to store it and guessing is hopeless; wrong ones are slowed all the same, right ones never:
 * otherwise anyone could lock the owner out.
 */
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { z } from 'zod'
import type { Access, TokenView } from '../../protocol/api.ts'
import { MeshError } from '../../protocol/errors.ts'
import { dirname } from 'node:path'
import { writeFileAtomic } from '../files/atomic-file.ts'
import { createPrivateFile, ensurePrivateFolder, readPrivateFile } from '../files/private-file.ts'

export interface Caller {
  /** "local" for the admin token, else the token's name */
  readonly name: string
  readonly access: Access
}

export interface Tokens {
  /** @returns undefined when the token is wrong. Takes the same time for every wrong one. */
  check(token: string): Caller | undefined
  /**
   * HMAC-SHA256(verifier, "manyhands-daemon" || 0x00 || nonce), hex; the verifier is the SHA-256 of a token as lower-case hex text: all that is kept of a
   * named one.
   * @param id of the token: the first 16 hex digits of the SHA-256 of its verifier. @default the admin token's
   * @returns undefined when no token has the id
   */
  prove(nonce: string, id?: string): string | undefined
  list(): readonly TokenView[]
  /** @returns the token: the only time it is seen. @throws MeshError E_CONFLICT when the name is taken, E_OVERLOADED */
  create(name: string, access: TokenView['access']): Promise<string>
  /** @throws MeshError E_NOT_FOUND */
  revoke(name: string): Promise<void>
  /** Calls back with the name of each token that is worth nothing from now on: what it opened must end. @returns stops it */
  onRevoked(listener: (name: string) => void): () => void
}

const TOKEN_BYTES = 32
const ID_DIGITS = 16
const MAX_TOKENS = 256
const MAX_FILE_BYTES = 1 << 20

const STORED = z.strictObject({
  name: z.string().regex(/^[a-z0-9][a-z0-9._-]{0,63}$/),
  access: z.enum(['read', 'run', 'admin']),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  createdAt: z.string().max(40),
})
const FILE = z.strictObject({ tokens: z.array(STORED).max(MAX_TOKENS) })
type Stored = z.output<typeof STORED>

/**
 * Reads the tokens; makes the admin token when there is none.
 * @throws MeshError E_INSECURE_FILE, E_CONFIG when a file cannot be understood
 */
export async function openTokens(tokenFile: string, tokensFile: string): Promise<Tokens> {
  await ensurePrivateFolder(dirname(tokenFile))
  const admin = await adminToken(tokenFile)
  const adminHash = hash(admin)
  let stored = await readStored(tokensFile)
  const listeners = new Set<(name: string) => void>()
  // One write at a time: each works on what the one before left
  let writing: Promise<unknown> = Promise.resolve()
  const change = (make: (now: readonly Stored[]) => Stored[]): Promise<void> => {
    const next = writing.then(async () => {
      const changed = make(stored)
      await writeFileAtomic(tokensFile, `${JSON.stringify({ tokens: changed }, null, 2)}\n`)
      stored = changed
    })
    writing = next.catch(() => undefined)
    return next
  }
  return {
    check(token) {
      const given = hash(token)
      let caller: Caller | undefined
      if (timingSafeEqual(given, adminHash)) caller = { name: 'local', access: 'admin' }
      for (const { name, access, sha256 } of stored)
        if (timingSafeEqual(given, Buffer.from(sha256, 'hex'))) caller ??= { name, access }
      return caller
    },
    prove(nonce, id) {
      const verifiers = [adminHash.toString('hex'), ...stored.map(({ sha256 }) => sha256)]
      const verifier = id === undefined ? verifiers[0] : verifiers.find((known) => tokenId(known) === id)
      return verifier === undefined
        ? undefined
        : createHmac('sha256', verifier).update(`manyhands-daemon\0${nonce}`).digest('hex')
    },
    list: () => stored.map(({ name, access, createdAt }) => ({ name, access, createdAt })),
    async create(name, access) {
      const token = newToken()
      await change((now) => {
        if (name === 'local' || now.some((other) => other.name === name))
          throw new MeshError('E_CONFLICT', `Cannot make the token: the name "${name}" is taken`, {
            hint: `Take another name, or end that one first: manyhands token revoke ${name}`,
          })
        if (now.length >= MAX_TOKENS)
          throw new MeshError('E_OVERLOADED', `Cannot make the token: there are ${MAX_TOKENS} already`, {
            hint: 'Revoke those not in use',
          })
        return [...now, { name, access, sha256: hash(token).toString('hex'), createdAt: new Date().toISOString() }]
      })
      return token
    },
    async revoke(name) {
      await change((now) => {
        if (!now.some((other) => other.name === name))
          throw new MeshError('E_NOT_FOUND', `Cannot revoke the token: there is none named "${name}"`, {
            hint: 'See those there are with: manyhands token ls',
          })
        return now.filter((other) => other.name !== name)
      })
      for (const listener of [...listeners]) listener(name)
    },
    onRevoked(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
  }
}

async function adminToken(path: string): Promise<string> {
  const found = await readPrivateFile(path, 1024)
  if (found !== undefined) return validToken(found.toString('utf8'), path)
  const fresh = newToken()
  if (await createPrivateFile(path, `${fresh}\n`)) return fresh
  // Made by another start in between, or a link that leads nowhere: reading tells which
  const made = await readPrivateFile(path, 1024)
  return validToken(made?.toString('utf8') ?? '', path)
}

function validToken(text: string, path: string): string {
  const token = text.trim()
  if (/^[\w-]{32,256}$/.test(token)) return token
  throw new MeshError(
    'E_CONFIG',
    `Cannot use the token file ${path}: 32 to 256 letters, digits, "_" or "-" are wanted`,
    { hint: 'Remove the file; the next start makes a new token' },
  )
}

async function readStored(path: string): Promise<readonly Stored[]> {
  const found = await readPrivateFile(path, MAX_FILE_BYTES)
  if (found === undefined) return []
  try {
    return FILE.parse(JSON.parse(found.toString('utf8'))).tokens
  } catch (cause) {
    throw new MeshError('E_CONFIG', `Cannot use the token list ${path}: it is not one this version writes`, {
      hint: 'Remove the file and make the tokens anew',
      cause,
    })
  }
}

/** Names a token without helping to guess it: it is made of the verifier, which is never sent. */
function tokenId(verifier: string): string {
  return hash(verifier).toString('hex').slice(0, ID_DIGITS)
}

function newToken(): string {
  return `mht_${randomBytes(TOKEN_BYTES).toString('base64url')}`
}

function hash(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}
