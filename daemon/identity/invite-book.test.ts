import { expect, test } from 'vitest'
import { MemoryJournal } from '../journal/memory-journal.ts'
import { InviteBook } from './invite-book.ts'
import { MEMBERSHIP_RECORDS } from './membership-store.ts'

test('invites that were used are not counted as open after a restart, and leave the journal', async () => {
  const journal = new MemoryJournal({ types: MEMBERSHIP_RECORDS })
  const book = new InviteBook(journal, () => 0)
  for (let count = 0; count < 1_000; count++) {
    const { oneTime } = await book.open('member', 60_000)
    await journal.append({ type: 'member.list', body: new Uint8Array(), writes: book.burn(oneTime, `node-${count}`) })
    book.settled(`node-${count}`)
  }
  const again = new InviteBook(journal, () => 0)
  await again.load()
  const { oneTime } = await again.open('member', 60_000)
  expect(again.claim(oneTime, 'node')).toEqual({ role: 'member', isAgain: false })
  expect((await journal.range('invite')).length).toBeLessThan(10)
})
