/** Reviews of proposals: acts become signed events in this node's namespace, by the same transaction that moves every other ref. */
import type { ProposalState, ProposalView } from '../../../protocol/api.ts'
import type { Attribution } from '../../../protocol/artifact/record.ts'
import { foldProposal, type Proposal, reviewOf } from '../../../protocol/artifact/proposal.ts'
import {
  isProposalId,
  type ProposalAct,
  proposalRef,
  type SealedEvent,
  sealEvent,
} from '../../../protocol/artifact/proposal-event.ts'
import { MeshError } from '../../../protocol/errors.ts'
import type { Signer } from '../../../protocol/signing/signing.ts'
import { recordCommit } from '../records/record-commit.ts'
import { EMPTY_TREE } from '../store/git-object.ts'
import type { OpenStore } from '../store/journal-store.ts'
import { proposalIds, readEvents } from './event-chain.ts'

export interface ReviewParts {
  readonly store: OpenStore
  readonly signer: Signer
  /** Merges `from` into the branch; already merged is merged. @throws MeshError E_REF_CONFLICT with the conflicts */
  merge(artifact: string, from: string, into: string, message: string, by: Attribution): Promise<string>
  /** First line of a commit's message */
  titleOf(artifact: string, commit: string): Promise<string>
  onEvent(artifact: string, proposal: string, what: ProposalAct['type']): void
  /** Milliseconds since 1970; display only */
  readonly now: () => number
}

interface Found {
  /** Where this node sees the ref of the proposal, from before the events were read: an act that comes in between is a conflict */
  readonly shown: string | null
  readonly proposal: Proposal
  readonly events: readonly SealedEvent[]
}

/** Times an act is put after what others did meanwhile. */
const ATTEMPTS = 5
const branchRef = (name: string): string => `refs/heads/${name}`

export class Reviews {
  readonly #parts: ReviewParts

  constructor(parts: ReviewParts) {
    this.#parts = parts
  }

  async create(
    artifact: string,
    request: { readonly from: string; readonly into?: string; readonly title?: string; readonly text?: string },
    by: Attribution,
  ): Promise<ProposalView> {
    const { store, titleOf } = this.#parts
    const { defaultBranch } = store.require(artifact)
    const { from, into = defaultBranch, text } = request
    if (from === into) throw new MeshError('E_BAD_REQUEST', 'Cannot propose: a branch cannot be merged into itself')
    const head = this.#tip(artifact, from)
    if (head === undefined)
      throw new MeshError('E_NOT_FOUND', `Cannot propose: there is no branch "${from}"`, {
        hint: 'Push or commit to it first',
      })
    const title = (request.title ?? (await titleOf(artifact, head))).slice(0, 256) || from
    const act: ProposalAct = { type: 'create', from, into, title, head, ...(text === undefined ? {} : { text }) }
    const sealed = this.#seal(artifact, undefined, [], act, by)
    await this.#append(artifact, sealed, { old: null, parent: null }, by)
    return this.show(artifact, sealed.proposal)
  }

  async show(artifact: string, id: string): Promise<ProposalView> {
    return this.#view(artifact, (await this.#find(artifact, id)).proposal)
  }

  /** Newest first. */
  async list(
    artifact: string,
    options: { readonly state?: ProposalState; readonly limit?: number; readonly after?: string },
  ): Promise<{ readonly proposals: readonly ProposalView[]; readonly next?: string }> {
    const { limit = 50, after, state } = options
    const proposals: ProposalView[] = []
    for (const id of proposalIds(this.#parts.store, artifact)) {
      if (after !== undefined && id >= after) continue
      if (proposals.length === limit) return { proposals, next: proposals.at(-1)?.id ?? '' }
      const found = await this.#read(artifact, id)
      if (found === undefined || (state ?? found.proposal.state) !== found.proposal.state) continue
      proposals.push(this.#view(artifact, found.proposal))
    }
    return { proposals }
  }

  comment(artifact: string, id: string, text: string, by: Attribution): Promise<ProposalView> {
    return this.#act(artifact, id, by, () => ({ type: 'comment', text }))
  }

  check(
    artifact: string,
    id: string,
    check: { readonly name: string; readonly result: 'pass' | 'fail'; readonly text?: string },
    by: Attribution,
  ): Promise<ProposalView> {
    const { name, result, text } = check
    return this.#act(artifact, id, by, (proposal) => ({
      type: 'check',
      name,
      result,
      head: this.#openHead(artifact, proposal),
      ...(text === undefined ? {} : { text }),
    }))
  }

  approve(artifact: string, id: string, text: string | undefined, by: Attribution): Promise<ProposalView> {
    return this.#act(artifact, id, by, (proposal) => ({
      type: 'approve',
      head: this.#openHead(artifact, proposal),
      ...(text === undefined ? {} : { text }),
    }))
  }

  close(artifact: string, id: string, text: string | undefined, by: Attribution): Promise<ProposalView> {
    return this.#act(artifact, id, by, (proposal) => {
      this.#openHead(artifact, proposal)
      if (proposal.author.node !== this.#parts.store.writer) this.#requireMerger(artifact, 'close')
      return { type: 'close', ...(text === undefined ? {} : { text }) }
    })
  }

  /**
   * The merge moves the branch first and is told second: when this node ends in between, merging again finds the branch merged and tells it.
   * @throws MeshError E_REVIEW with what is lacking, E_FORBIDDEN, E_CONFLICT when it is over, E_REF_CONFLICT
   */
  async merge(artifact: string, id: string, text: string | undefined, by: Attribution): Promise<ProposalView> {
    const { proposal } = await this.#find(artifact, id)
    this.#requireMerger(artifact, 'merge')
    const head = this.#openHead(artifact, proposal)
    const { lacking } = reviewOf(proposal, head, this.#demands(artifact))
    if (lacking.length > 0)
      throw new MeshError('E_REVIEW', `Cannot merge the proposal: ${lacking.join('; ')}`, { details: { lacking } })
    const message = `Merge proposal ${id}: ${proposal.title}\n\nProposal: ${id}\n`
    const commit = await this.#parts.merge(artifact, head, proposal.into, message, { reason: `proposal ${id}`, ...by })
    return this.#act(artifact, id, by, (found) => {
      // Merged by another request meanwhile: told once, since what is told starts tasks
      this.#openHead(artifact, found)
      return { type: 'merge', head, commit, ...(text === undefined ? {} : { text }) }
    })
  }

  async #act(
    artifact: string,
    id: string,
    by: Attribution,
    make: (proposal: Proposal) => ProposalAct,
  ): Promise<ProposalView> {
    for (let attempt = 1; ; attempt++) {
      const { proposal, events, shown } = await this.#find(artifact, id)
      const sealed = this.#seal(artifact, id, events, make(proposal), by)
      try {
        await this.#append(artifact, sealed, { old: shown, parent: this.#ownTip(events) }, by)
        return await this.show(artifact, id)
      } catch (error) {
        const raced = error instanceof MeshError && error.code === 'E_REF_CONFLICT'
        if (!raced || attempt === ATTEMPTS) throw error
      }
    }
  }

  #seal(
    artifact: string,
    proposal: string | undefined,
    events: readonly SealedEvent[],
    act: ProposalAct,
    by: Attribution,
  ): SealedEvent {
    const { signer, now } = this.#parts
    const own = events.filter(({ event }) => event.writer === signer.nodeId)
    return sealEvent(signer, {
      v: 1,
      artifact,
      ...(proposal === undefined ? {} : { proposal }),
      writer: signer.nodeId,
      sequence: own.length + 1,
      previous: own.at(-1)?.digest ?? null,
      clock: 1 + Math.max(0, ...events.map(({ event }) => event.clock)),
      subject: by.subject ?? 'local',
      ...(by.agent === undefined ? {} : { agent: by.agent }),
      ...(by.task === undefined ? {} : { task: by.task }),
      act,
      at: now(),
    })
  }

  /** Commit of this node's newest event: made again from its events, since it follows from them. */
  #ownTip(events: readonly SealedEvent[]): string | null {
    let tip: string | null = null
    for (const { event, text } of events)
      if (event.writer === this.#parts.store.writer) tip = recordCommit(text, tip).oid
    return tip
  }

  async #append(
    artifact: string,
    sealed: SealedEvent,
    at: { readonly old: string | null; readonly parent: string | null },
    by: Attribution,
  ): Promise<void> {
    const { store, onEvent } = this.#parts
    const commit = recordCommit(sealed.text, at.parent)
    const move = { ref: proposalRef(sealed.proposal), old: at.old, new: commit.oid }
    await store.transact(artifact, [move], { by, objects: [EMPTY_TREE, commit] })
    onEvent(artifact, sealed.proposal, sealed.event.act.type)
  }

  async #find(artifact: string, id: string): Promise<Found> {
    const found = isProposalId(id) ? await this.#read(artifact, id) : undefined
    if (found !== undefined) return found
    throw new MeshError('E_NOT_FOUND', 'Cannot find the proposal: the artifact has none with that id', {
      hint: 'See: manyhands proposal ls',
    })
  }

  async #read(artifact: string, id: string): Promise<Found | undefined> {
    const shown = this.#parts.store.refs(artifact).get(proposalRef(id)) ?? null
    const events = await readEvents(this.#parts.store, artifact, id)
    const proposal = foldProposal(id, events, { mergers: this.#mergers(artifact) })
    return proposal === undefined ? undefined : { proposal, events, shown }
  }

  #mergers(artifact: string): ReadonlySet<string> {
    const { owner, settings } = this.#parts.store.require(artifact)
    return new Set([owner, ...settings.delegates])
  }

  #demands(artifact: string): { readonly checks: readonly string[]; readonly approvals: number } {
    const { checks, approvals } = this.#parts.store.require(artifact).settings
    return { checks, approvals }
  }

  /** @throws MeshError E_FORBIDDEN */
  #requireMerger(artifact: string, what: string): void {
    if (this.#mergers(artifact).has(this.#parts.store.writer)) return
    throw new MeshError(
      'E_FORBIDDEN',
      `Cannot ${what} the proposal: only the owner of the artifact and its delegates do`,
      {
        hint: 'Ask on a node of theirs',
      },
    )
  }

  /** The commit that is proposed now: where the author's branch is, or was when last spoken of. @throws MeshError E_CONFLICT when it is over */
  #openHead(artifact: string, proposal: Proposal): string {
    if (proposal.state === 'open') return this.#head(artifact, proposal)
    throw new MeshError('E_CONFLICT', `Cannot do that: the proposal is ${proposal.state}`, {
      hint: 'Make a new one: manyhands artifact propose',
    })
  }

  #head(artifact: string, proposal: Proposal): string {
    if (proposal.state !== 'open') return proposal.head
    return this.#tip(artifact, proposal.from, proposal.author.node) ?? proposal.head
  }

  #tip(artifact: string, branch: string, as?: string): string | undefined {
    return this.#parts.store.refs(artifact, as === undefined ? {} : { as }).get(branchRef(branch))
  }

  #view(artifact: string, proposal: Proposal): ProposalView {
    const head = this.#head(artifact, proposal)
    const review = reviewOf(proposal, head, this.#demands(artifact))
    const { id, title, text, from, into, state, author, comments, merge, createdAt } = proposal
    return {
      artifact,
      id,
      title,
      ...(text === undefined ? {} : { text }),
      from,
      into,
      head,
      state,
      author,
      comments: comments.map((one) => ({ by: one.by, text: one.text, at: new Date(one.at).toISOString() })),
      checks: review.checks.map((one) => ({
        name: one.name,
        result: one.result,
        by: one.by,
        ...(one.text === undefined ? {} : { text: one.text }),
      })),
      approvals: review.approvals,
      lacking: state === 'open' ? review.lacking : [],
      ...(merge === undefined ? {} : { merge }),
      createdAt: new Date(createdAt).toISOString(),
    }
  }
}
