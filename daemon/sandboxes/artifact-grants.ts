/**
 * Which artifact each sandbox was given, and the Git token by which this node's own door serves it. The token is made here, stays in this process's memory and
 * is put into requests here: no guest, no proxy and no peer ever holds it. After a start another takes its place; the journal knows both by their hashes alone.
 *
 * Journal table "sandbox-artifact", key: the id the user knows the sandbox by: JSON {"artifact", "name", "access", "subject", "token"?}.
 */
import * as z from 'zod'
import { MeshError } from '../../protocol/errors.ts'
import type { ArtifactServices } from '../api/artifact-services.ts'
import type { GitHandler } from '../api/git-mount.ts'
import type { Journal } from '../journal/journal.ts'

/** Artifacts of this node, loaded when they are first needed. Both throw MeshError E_NO_ARTIFACTS, E_GIT_MISSING, E_STORAGE, E_STOPPING. */
export interface ArtifactSource {
  services(): Promise<Pick<ArtifactServices, 'get' | 'gitTokens' | 'createGitToken' | 'revokeGitToken'>>
  git(): Promise<GitHandler>
}

const grantRow = z.object({
  /** Its id */
  artifact: z.string(),
  /** What the guest calls it: its name when it was given */
  name: z.string(),
  access: z.enum(['read', 'write']),
  /** Stands in the records of its pushes */
  subject: z.string(),
  /** Id of the token in force */
  token: z.string().exactOptional(),
})
export type ArtifactGrant = Readonly<z.infer<typeof grantRow>>

export interface GrantsOptions {
  readonly journal: Journal
  readonly source: ArtifactSource
  readonly warn: (facts: object, message: string) => void
}

const TABLE = 'sandbox-artifact'
const PAGE = 1_000
/** Longest name of a token */
const SUBJECT_LENGTH = 64

/** Who pushes, as records name it. */
export function subjectOf(sandbox: string, name: string | undefined): string {
  const full = `sandbox/${name ?? sandbox}`
  return full.length <= SUBJECT_LENGTH ? full : `sandbox/${sandbox}`.slice(0, SUBJECT_LENGTH)
}

export class ArtifactGrants {
  readonly #options: GrantsOptions
  readonly #rows = new Map<string, ArtifactGrant>()
  /** Made on first use, of this run of the daemon */
  readonly #secrets = new Map<string, Promise<string>>()

  private constructor(options: GrantsOptions) {
    this.#options = options
  }

  /** @throws MeshError E_JOURNAL_GAP */
  static async open(options: GrantsOptions): Promise<ArtifactGrants> {
    const grants = new ArtifactGrants(options)
    let after: string | undefined
    for (;;) {
      const rows = await options.journal.range(TABLE, after === undefined ? { limit: PAGE } : { after, limit: PAGE })
      for (const { key, value } of rows) {
        const row = grantRow.safeParse(JSON.parse(Buffer.from(value).toString()))
        if (row.success) grants.#rows.set(key, row.data)
      }
      after = rows.at(-1)?.key
      if (rows.length < PAGE) return grants
    }
  }

  /** The artifact as it will be given. @throws MeshError E_NOT_FOUND, and why this node has no artifacts */
  async look(idOrName: string): Promise<{ readonly id: string; readonly name: string; readonly branch: string }> {
    const { id, name, defaultBranch } = await (await this.#options.source.services()).get(idOrName)
    return { id, name, branch: defaultBranch }
  }

  find(sandbox: string): ArtifactGrant | undefined {
    return this.#rows.get(sandbox)
  }

  /** Resolves once it is durable. @throws MeshError E_STORAGE, E_OVERLOADED */
  async give(sandbox: string, grant: Omit<ArtifactGrant, 'token'>): Promise<void> {
    await this.#put(sandbox, grant)
  }

  /** What `sandbox` was given, if anything, is given to its fork too, under a token of its own. @throws MeshError E_STORAGE, E_OVERLOADED */
  async share(sandbox: string, fork: string, subject: string): Promise<void> {
    const grant = this.#rows.get(sandbox)
    if (grant === undefined) return
    const { artifact, name, access } = grant
    await this.give(fork, { artifact, name, access, subject })
  }

  /** The sandbox is gone: so is what it was given, and the token. */
  async take(sandbox: string): Promise<void> {
    const grant = this.#rows.get(sandbox)
    if (grant === undefined) return
    // One that is being made is revoked too
    await this.#secrets.get(sandbox)?.catch(() => undefined)
    const token = this.#rows.get(sandbox)?.token
    this.#rows.delete(sandbox)
    this.#secrets.delete(sandbox)
    // The row goes last: while it is there, what is left of it is taken by the next start
    if (token !== undefined && !(await this.#revoke(grant.artifact, token))) return
    await this.#append(sandbox, undefined)
  }

  /** Of a run before this one: its sandbox is gone, and what it was given could not be taken. */
  async takeStrays(known: ReadonlySet<string>): Promise<void> {
    for (const sandbox of [...this.#rows.keys()].filter((one) => !known.has(one))) await this.take(sandbox)
  }

  /** For the door alone. @throws MeshError E_NOT_FOUND nothing was given; E_FORBIDDEN its token was revoked by hand */
  secret(sandbox: string): Promise<string> {
    const known = this.#secrets.get(sandbox)
    if (known !== undefined) return known
    const made = this.#make(sandbox)
    this.#secrets.set(sandbox, made)
    made.catch(() => this.#secrets.delete(sandbox))
    return made
  }

  async #make(sandbox: string): Promise<string> {
    const grant = this.#rows.get(sandbox)
    if (grant === undefined) throw new MeshError('E_NOT_FOUND', 'No artifact was given to this sandbox')
    const services = await this.#options.source.services()
    const { artifact, access, subject, token: old } = grant
    if (old !== undefined && !(await services.gitTokens(artifact)).some(({ id }) => id === old))
      throw new MeshError('E_FORBIDDEN', 'The token of this sandbox was revoked')
    const { id, token } = await services.createGitToken(artifact, { name: subject, access })
    await this.#put(sandbox, { ...grant, token: id })
    if (old !== undefined) await this.#revoke(artifact, old)
    return token
  }

  /** Its secret is in nobody's memory any more, so a failure opens nothing. @returns whether it is in force no more */
  async #revoke(artifact: string, token: string): Promise<boolean> {
    try {
      await (await this.#options.source.services()).revokeGitToken(artifact, token)
      return true
    } catch (error) {
      if (error instanceof MeshError && error.code === 'E_NOT_FOUND') return true
      this.#options.warn({ err: error, artifact, token }, 'the token of a sandbox was not revoked')
      return false
    }
  }

  async #put(sandbox: string, grant: ArtifactGrant): Promise<void> {
    await this.#append(sandbox, Buffer.from(JSON.stringify(grant)))
    this.#rows.set(sandbox, grant)
  }

  async #append(sandbox: string, value: Uint8Array | undefined): Promise<void> {
    await this.#options.journal.append({
      type: value === undefined ? 'sandbox.artifact-taken' : 'sandbox.artifact-given',
      body: Buffer.from(sandbox),
      writes: [{ table: TABLE, key: sandbox, ...(value === undefined ? {} : { value }) }],
    })
  }
}
