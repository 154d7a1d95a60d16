import { expect, test } from 'vitest'
import { HeldJournal } from '../../test/support/held-journal.ts'
import { orderBy } from '../../test/support/orders.ts'
import { seedOf } from '../../test/support/task-node.ts'
import { MeshError } from '../../protocol/errors.ts'
import { NO_USAGE } from '../../protocol/job.ts'
import { nodeIdFromSeed } from '../../protocol/node-id.ts'
import { verifyReceiptChain } from '../../protocol/receipt/receipt.ts'
import type { ReceiptEnvelope } from '../../protocol/api.ts'
import { signerFromSeed } from '../../protocol/signing/signing.ts'
import { MemoryJournal } from '../journal/memory-journal.ts'
import { ReceiptBook } from './receipt-book.ts'
import { TASK_ENGINE_RECORDS } from './records.ts'

/** Refuses while it is full, as a journal does whose disk is slow: what waits in it goes on. */
class FullJournal extends HeldJournal {
  isFull = false
  override append(...args: Parameters<HeldJournal['append']>): Promise<number> {
    return this.isFull ? Promise.reject(new MeshError('E_OVERLOADED', 'too many wait')) : super.append(...args)
  }
}

test('a receipt for which the journal has no room breaks no link of the chain, nor makes another', async () => {
  const journal = new FullJournal(new MemoryJournal({ types: TASK_ENGINE_RECORDS }))
  const book = new ReceiptBook(signerFromSeed(seedOf('a')), journal)
  const order = orderBy(nodeIdFromSeed(seedOf('a')), 'task')
  const work = {
    order,
    grade: 'process',
    input: 'ab'.repeat(32),
    output: 'cd'.repeat(32),
    usage: NO_USAGE,
    failed: undefined,
  } as const
  const first = book.issue(work)
  journal.isFull = true
  const refused = [book.issue(work), book.issue(work)]
  for (const { durable } of refused) await expect(durable).rejects.toMatchObject({ code: 'E_OVERLOADED' })
  journal.isFull = false
  const second = book.issue(work)
  await journal.sync()
  const third = book.issue(work)
  await journal.sync()
  const chain = [first, second, third].map(({ envelope }) => JSON.parse(envelope) as ReceiptEnvelope)
  expect(verifyReceiptChain(chain)).toMatchObject({ valid: true, missing: [] })
})
