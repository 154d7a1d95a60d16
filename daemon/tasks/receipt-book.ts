/** The receipts this node has signed: one chain, each link durable with the record that carries it. */
import { manyhands } from '../../proto/gen/wire.js'
import type { ReceiptEnvelope } from '../../protocol/api.ts'
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

export class ReceiptBook {
  readonly #signer: Signer
  readonly #journal: Journal
  /** Undefined after a failure, until the journal says how far it got */
  #chain: ReceiptChain | undefined

  constructor(signer: Signer, journal: Journal) {
    this.#signer = signer
    this.#journal = journal
    this.#chain = storedChain(journal)
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
    const { envelope, chain } = make(this.#chain ?? storedChain(this.#journal))
    this.#chain = chain
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
    // A receipt that never became durable was never shown: the chain goes on from the last that did.
    durable.catch(() => {
      this.#chain = undefined
    })
    return { envelope: text, durable }
  }
}

function storedChain(journal: Journal): ReceiptChain {
  const row = journal.get('receipt', 'head')
  if (row === undefined) return { sequence: 0, last: '' }
  const { sequence, hash } = manyhands.ReceiptHead.decode(row)
  return { sequence, last: Buffer.from(hash).toString('hex') }
}
