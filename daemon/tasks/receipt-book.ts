/** The receipts this node has signed: one chain, each link durable with the record that carries it. */
import { manyhands } from '../../proto/gen/wire.js'
import type { ReceiptEnvelope } from '../../protocol/api.ts'
import { MeshError } from '../../protocol/errors.ts'
import {
  type CommitsFacts,
  makeCommitsReceipt,
  makeReceipt,
  type ReceiptChain,
} from '../../protocol/receipt/receipt.ts'
import type { Signer } from '../../protocol/signing/signing.ts'
import type { Journal, TableWrite } from '../journal/journal.ts'
import type { DigestedOrder } from './digest.ts'

export interface IssuedReceipt {
  /** DSSE envelope as JSON text */
  readonly envelope: string
  /** Resolves when it is on disk */
  readonly durable: Promise<unknown>
}

/** The chain as far as one receipt, which may not be durable yet. */
interface Link {
  readonly chain: ReceiptChain
  /** While it is not durable: what it stands on */
  before: Link | undefined
  /** The journal had no room for it */
  isRefused: boolean
}

export class ReceiptBook {
  readonly #signer: Signer
  readonly #journal: Journal
  /** Undefined after a failure, until the journal says how far it got */
  #end: Link | undefined

  constructor(signer: Signer, journal: Journal) {
    this.#signer = signer
    this.#journal = journal
    this.#end = durableLink(storedChain(journal))
  }

  /** @throws MeshError E_STORAGE when the chain cannot be read now */
  issue(work: DigestedOrder): IssuedReceipt {
    const { order, usage } = work
    const endedAtMs = Date.now()
    return this.#keep((chain) =>
      makeReceipt(
        this.#signer,
        {
          task: order.task,
          epoch: order.epoch,
          kind: order.kind,
          delegator: order.delegator,
          program: order.digest,
          input: work.input,
          ...(work.failed === undefined ? { output: work.output } : { error: work.failed }),
          grade: work.grade,
          limits: order.limits,
          usage,
          startedAtMs: Math.round(endedAtMs - usage.wallMs),
          endedAtMs,
        },
        chain,
      ),
    )
  }

  /** Says which commits a task read and gave. @param more rows to be written with it @throws MeshError E_STORAGE */
  async attest(facts: Omit<CommitsFacts, 'atMs'>, more: (envelope: string) => readonly TableWrite[]): Promise<void> {
    const make = (chain: ReceiptChain) => makeCommitsReceipt(this.#signer, { ...facts, atMs: Date.now() }, chain)
    await this.#keep(make, more).durable
  }

  #keep(
    make: (chain: ReceiptChain) => { readonly envelope: ReceiptEnvelope; readonly chain: ReceiptChain },
    more: (envelope: string) => readonly TableWrite[] = () => [],
  ): IssuedReceipt {
    const before = this.#lastLink()
    const { envelope, chain } = make(before.chain)
    const link: Link = { chain, before, isRefused: false }
    this.#end = link
    const text = JSON.stringify(envelope)
    const head = manyhands.ReceiptHead.encode({
      sequence: chain.sequence,
      hash: Buffer.from(chain.last, 'hex'),
    }).finish()
    const durable = this.#journal.append({
      type: 'receipt.issued',
      body: Buffer.from(text),
      writes: [{ table: 'receipt', key: 'head', value: head }, ...more(text)],
    })
    durable.then(
      () => {
        link.before = undefined
      },
      (error: unknown) => this.#onLost(link, error),
    )
    return { envelope: text, durable }
  }

  /**
   * A receipt that never became durable was never shown: the chain goes on from the last that did. When the journal had no room for this one alone, those
   * before it are still on their way to the disk, so what is stored is not how far the chain has come.
   */
  #onLost(link: Link, error: unknown): void {
    if (error instanceof MeshError && error.code === 'E_OVERLOADED') link.isRefused = true
    else this.#end = undefined
  }

  #lastLink(): Link {
    let link = this.#end
    while (link?.isRefused) link = link.before
    return link ?? durableLink(storedChain(this.#journal))
  }
}

function durableLink(chain: ReceiptChain): Link {
  return { chain, before: undefined, isRefused: false }
}

function storedChain(journal: Journal): ReceiptChain {
  const row = journal.get('receipt', 'head')
  if (row === undefined) return { sequence: 0, last: '' }
  const { sequence, hash } = manyhands.ReceiptHead.decode(row)
  return { sequence, last: Buffer.from(hash).toString('hex') }
}
