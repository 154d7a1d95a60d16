import { describe, expect, test } from 'vitest'
import { AddressBook, DISCOVERY_RECORDS } from '../discovery/address-book.ts'
import { HelloKeeper } from '../identity/hello-keeper.ts'
import { MEMBERSHIP_RECORDS } from '../identity/membership-store.ts'
import { MemoryJournal } from './memory-journal.ts'
import { PEER_WRITE_MS } from './write-pace.ts'

const newJournal = () => new MemoryJournal({ types: [...MEMBERSHIP_RECORDS, ...DISCOVERY_RECORDS] })

describe('P2P-05 a peer that talks without end makes few records, and its latest word is kept', () => {
  test('hellos', async () => {
    let now = 0
    const journal = newJournal()
    const keeper = new HelloKeeper(journal, () => now)
    const say = (journalHigh: number) => keeper.heard('peer', { instance: 1, journalHigh, yourJournalHigh: 0 })
    for (let high = 1; high <= 2_000; high++) say(high)
    keeper.keep()
    expect(journal.head).toBe(1)
    expect(keeper.about('peer').yourJournalHigh).toBe(2_000)
    now = PEER_WRITE_MS
    keeper.keep()
    keeper.keep()
    expect(journal.head).toBe(2)
    const again = new HelloKeeper(journal, () => now)
    await again.load()
    expect(again.about('peer').yourJournalHigh).toBe(2_000)
  })

  test('addresses', async () => {
    let now = 0
    const journal = newJournal()
    const book = new AddressBook(journal, () => now)
    for (let port = 1; port <= 2_000; port++) book.learn('peer', [`/ip4/10.0.0.1/tcp/${port}`])
    book.learn('gone', ['/ip4/10.0.0.2/tcp/1'])
    book.learn('gone', ['/ip4/10.0.0.2/tcp/2'])
    book.forget('gone')
    expect(journal.head).toBe(3)
    now = PEER_WRITE_MS
    book.keep()
    expect(journal.head).toBe(4)
    const again = new AddressBook(journal, () => now)
    await again.load()
    expect(again.of('peer')).toEqual(['/ip4/10.0.0.1/tcp/2000'])
    expect(again.of('gone')).toEqual([])
  })
})
