/** What hangs on an artifact: tokens for Git clients, and programs that pushes start. */
import type { GitTokenReply, GitTokenRequest, GitTokenView, TriggerRequest, TriggerView } from '../../protocol/api.ts'
import type { CallOptions } from './call-options.ts'
import type { Client } from './client.ts'

export class GitTokens {
  readonly #client: Client
  readonly #id: string

  constructor(client: Client, id: string) {
    this.#client = client
    this.#id = id
  }

  /** Makes a token for Git clients: as password, with any user name. It is shown this once. */
  create(request: GitTokenRequest = {}, { signal }: CallOptions = {}): Promise<GitTokenReply> {
    return this.#client.call('POST /v0/artifacts/:id/tokens', { params: { id: this.#id }, body: request, signal })
  }

  /** Without their secrets. Admins only. */
  async list({ signal }: CallOptions = {}): Promise<readonly GitTokenView[]> {
    return (await this.#client.call('GET /v0/artifacts/:id/tokens', { params: { id: this.#id }, signal })).tokens
  }

  /** Ends a token. Gives those that are left. @param token its id */
  async revoke(token: string, { signal }: CallOptions = {}): Promise<readonly GitTokenView[]> {
    const params = { id: this.#id, token }
    return (await this.#client.call('POST /v0/artifacts/:id/tokens/:token/revoke', { params, body: {}, signal })).tokens
  }
}

export class Triggers {
  readonly #client: Client
  readonly #id: string

  constructor(client: Client, id: string) {
    this.#client = client
    this.#id = id
  }

  async list({ signal }: CallOptions = {}): Promise<readonly TriggerView[]> {
    return (await this.#client.call('GET /v0/artifacts/:id/triggers', { params: { id: this.#id }, signal })).triggers
  }

  /** Starts the program with {artifact, name, ref, old, new} as input whenever the branch is pushed. */
  add(request: TriggerRequest, { signal }: CallOptions = {}): Promise<TriggerView> {
    return this.#client.call('POST /v0/artifacts/:id/triggers', { params: { id: this.#id }, body: request, signal })
  }

  async remove(name: string, { signal }: CallOptions = {}): Promise<readonly TriggerView[]> {
    const params = { id: this.#id, trigger: name }
    return (await this.#client.call('POST /v0/artifacts/:id/triggers/:trigger/remove', { params, body: {}, signal }))
      .triggers
  }
}
