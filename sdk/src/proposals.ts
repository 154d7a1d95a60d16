/** Proposals to merge one branch of an artifact into another, with their review. */
import type { ProposalAct, ProposalCheck, ProposalState, ProposalView } from '../../protocol/api.ts'
import type { CallOptions } from './call-options.ts'
import type { Client } from './client.ts'
import { compact } from './program.ts'

export interface ProposalPageOptions extends CallOptions {
  readonly state?: ProposalState | undefined
  /** At most 500. @default 50 */
  readonly limit?: number | undefined
  readonly after?: string | undefined
}

export class Proposals {
  readonly #client: Client
  readonly #artifact: string

  constructor(client: Client, artifact: string) {
    this.#client = client
    this.#artifact = artifact
  }

  /** Newest first. */
  list(options: ProposalPageOptions = {}): Promise<{ proposals: readonly ProposalView[]; next?: string }> {
    const { signal, ...query } = options
    return this.#client.call('GET /v0/artifacts/:id/proposals', {
      params: { id: this.#artifact },
      query: compact<{ state?: ProposalState; limit?: number; after?: string }>(query),
      signal,
    })
  }

  /** @throws ManyhandsError E_NOT_FOUND */
  async get(id: string, { signal }: CallOptions = {}): Promise<Proposal> {
    const params = { id: this.#artifact, proposal: id }
    const view = await this.#client.call('GET /v0/artifacts/:id/proposals/:proposal', { params, signal })
    return new Proposal(this.#client, view)
  }
}

/** Each act is an event signed by this node in the repository; `view` is what they come to. */
export class Proposal {
  readonly #client: Client
  #view: ProposalView

  constructor(client: Client, view: ProposalView) {
    this.#client = client
    this.#view = view
  }

  get id(): string {
    return this.#view.id
  }

  get view(): ProposalView {
    return this.#view
  }

  comment(text: string, by?: ProposalAct['by'], options: CallOptions = {}): Promise<ProposalView> {
    return this.#act('comment', { text, ...(by === undefined ? {} : { by }) }, options)
  }

  /** The result of a check of the proposed commit. */
  async check(check: ProposalCheck, { signal }: CallOptions = {}): Promise<ProposalView> {
    const route = 'POST /v0/artifacts/:id/proposals/:proposal/check'
    return this.#keep(await this.#client.call(route, { params: this.#params, body: check, signal }))
  }

  /** Approves the proposed commit; its author's own approval does not count. */
  approve(act: ProposalAct = {}, options: CallOptions = {}): Promise<ProposalView> {
    return this.#act('approve', act, options)
  }

  /** @throws ManyhandsError E_REVIEW with `details.lacking`, E_REF_CONFLICT when the branches cannot be merged */
  merge(act: ProposalAct = {}, options: CallOptions = {}): Promise<ProposalView> {
    return this.#act('merge', act, options)
  }

  close(act: ProposalAct = {}, options: CallOptions = {}): Promise<ProposalView> {
    return this.#act('close', act, options)
  }

  get #params(): { readonly id: string; readonly proposal: string } {
    return { id: this.#view.artifact, proposal: this.#view.id }
  }

  async #act(
    what: 'comment' | 'approve' | 'merge' | 'close',
    body: ProposalAct,
    { signal }: CallOptions,
  ): Promise<ProposalView> {
    const route = `POST /v0/artifacts/:id/proposals/:proposal/${what}` as const
    return this.#keep(await this.#client.call(route, { params: this.#params, body, signal }))
  }

  #keep(view: ProposalView): ProposalView {
    this.#view = view
    return view
  }
}
