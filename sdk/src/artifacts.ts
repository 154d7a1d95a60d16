/** The artifacts of the node: Git repositories that replicate between nodes. `mesh.artifact(name)` gives one of them. */
import type { ArtifactCreate, ArtifactView, ImportRequest } from '../../protocol/api.ts'
import { Artifact } from './artifact.ts'
import type { CallOptions } from './call-options.ts'
import type { Client } from './client.ts'
import { compact } from './program.ts'

export interface ArtifactPageOptions extends CallOptions {
  /** Names that begin so. @default all */
  readonly prefix?: string | undefined
  /** At most 500. @default 50 */
  readonly limit?: number | undefined
  /** `next` of the page before. @default from the first */
  readonly after?: string | undefined
}

/** Long enough for a large repository over a slow line; abort to end it sooner. */
const IMPORT_MS = 15 * 60_000

export class Artifacts {
  readonly #client: Client

  constructor(client: Client) {
    this.#client = client
  }

  /** Makes an empty artifact. @throws ManyhandsError E_CONFLICT when the name is taken here, E_QUOTA, E_NO_ARTIFACTS */
  async create(request: ArtifactCreate = {}, { signal }: CallOptions = {}): Promise<Artifact> {
    return new Artifact(this.#client, await this.#client.call('POST /v0/artifacts', { body: request, signal }))
  }

  /** In the order of their names. */
  list(options: ArtifactPageOptions = {}): Promise<{ artifacts: readonly ArtifactView[]; next?: string }> {
    const { signal, ...query } = options
    return this.#client.call('GET /v0/artifacts', { query: compact<ArtifactQuery>(query), signal })
  }

  /** @param nameOrId its name on this node, or its id. @throws ManyhandsError E_NOT_FOUND */
  async get(nameOrId: string, { signal }: CallOptions = {}): Promise<Artifact> {
    const params = { id: nameOrId }
    return new Artifact(this.#client, await this.#client.call('GET /v0/artifacts/:id', { params, signal }))
  }

  /**
   * Fetches what the nearest holder has, also of an artifact that this node does not know yet. @param id its id
   * @throws ManyhandsError E_NOT_FOUND when no node that can be asked holds it and may show it to this one
   */
  async fetch(id: string, { signal }: CallOptions = {}): Promise<Artifact> {
    const view = await this.#client.call('POST /v0/artifacts/:id/fetch', {
      params: { id },
      body: {},
      signal,
      timeoutMs: IMPORT_MS,
    })
    return new Artifact(this.#client, view)
  }

  /** Makes an artifact of a repository elsewhere, by https or http as the node allows. @throws ManyhandsError E_FORBIDDEN, E_UNREACHABLE, E_QUOTA */
  async import(request: ImportRequest, { signal }: CallOptions = {}): Promise<Artifact> {
    const view = await this.#client.call('POST /v0/artifacts/import', { body: request, signal, timeoutMs: IMPORT_MS })
    return new Artifact(this.#client, view)
  }
}

type ArtifactQuery = { limit?: number; after?: string; prefix?: string }
