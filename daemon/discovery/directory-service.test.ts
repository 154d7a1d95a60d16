import { afterEach, describe, expect, test, vi } from 'vitest'
import { manyhands } from '../../proto/gen/wire.js'
import { MeshError } from '../../protocol/errors.ts'
import { LIMITS } from '../../protocol/limits.ts'
import { METHODS } from '../../protocol/membership/hello.ts'
import { ISOLATE, MemoryMesh, newSigner, type TestMember, until } from '../../test/support/memory-mesh.ts'
import { MemoryJournal } from '../journal/memory-journal.ts'
import { AddressBook, DISCOVERY_RECORDS } from './address-book.ts'
import { CardBook } from './card-book.ts'
import { type Offer, OwnCard } from './own-card.ts'

describe('directory service, without gossip and label index', () => {
  let mesh: MemoryMesh
  afterEach(() => {
    vi.restoreAllMocks()
    return mesh.close()
  })

  const offerWith = (free: () => number): Offer => ({
    get executors() {
      return ISOLATE.executors.map((executor) => ({ ...executor, free: free() }))
    },
    labels: [],
  })
  const cards = (member: TestMember) => member.directory.capabilities('isolate')[0]?.nodes.length ?? 0

  test('a late joiner finds every provider from whoever it meets', async () => {
    mesh = new MemoryMesh()
    const founder = await mesh.found()
    for (const name of ['a', 'b', 'c', 'd', 'e', 'f']) await mesh.join(founder, name)
    const late = await mesh.join(founder, 'late', { offer: { executors: [], labels: ['tool/search'] } })
    await until('the late joiner knows all', () => cards(late) === 7)
    await until('all know the late joiner', () =>
      mesh.members.every((member) => member.directory.capabilities('tool/search')[0]?.nodes.length === 1),
    )
    expect(late.directory.nodes().filter(({ labels }) => labels.includes('isolate'))).toHaveLength(7)
    await until('everybody is connected', () => mesh.members.every((member) => member.net.connections().length === 7))
    expect(late.directory.peers().every(({ connected }) => connected)).toBe(true)
    expect(
      late.directory
        .peers()
        .map(({ name }) => name)
        .sort(),
    ).toEqual(['a', 'b', 'c', 'd', 'e', 'f', 'founder'])
  })

  test('a late joiner finds every provider too when the one it meets does not serve it at first', async () => {
    mesh = new MemoryMesh()
    const founder = await mesh.found()
    const gone = await mesh.join(founder, 'gone')
    await until('the founder has its card', () => cards(founder) === 2)
    mesh.crash(gone)
    let asked = 0
    const { answerPage } = CardBook.prototype
    vi.spyOn(CardBook.prototype, 'answerPage').mockImplementation(function (this: CardBook, body) {
      if (++asked <= 2) throw new MeshError('E_SYNCING', 'Not yet')
      return answerPage.call(this, body)
    })
    const late = await mesh.join(founder, 'late')
    await until('the late joiner knows all', () => cards(late) === 3)
  })

  test('a change of capacity reaches the others', async () => {
    mesh = new MemoryMesh()
    let free = 4
    const founder = await mesh.found()
    const busy = await mesh.join(founder, 'busy', { offer: offerWith(() => free) })
    const seen = () => founder.directory.card(busy.id)?.executors[0]?.free
    await until('the card is known', () => seen() === 4)
    const placeable = () => founder.directory.nodes().find(({ node }) => node === busy.id)?.executors[0]?.free
    expect(placeable()).toBe(4)
    free = 0
    busy.directory.changed()
    await until('the founder knows that it is full', () => seen() === 0)
    // what placement is told is kept only as long as the card
    expect(placeable()).toBe(0)
  })

  test('a change that a peer could not be told of, or did not take, reaches it once it does', async () => {
    mesh = new MemoryMesh()
    let free = 4
    const founder = await mesh.found()
    const busy = await mesh.join(founder, 'busy', { offer: offerWith(() => free) })
    const seen = () => founder.directory.card(busy.id)?.executors[0]?.free
    const told = vi.spyOn(OwnCard.prototype, 'make')
    let refusals = 0
    const { request } = busy.net
    vi.spyOn(busy.net, 'request').mockImplementation(async (...asked) => {
      try {
        return await request.apply(busy.net, asked)
      } catch (error) {
        if (asked[1] === METHODS.pushCard) refusals++
        throw error
      }
    })
    const change = (to: number) => {
      told.mockClear()
      free = to
      busy.directory.changed()
    }
    await until('the card is known', () => seen() === 4)
    busy.net.setReady(founder.id, false)
    change(0)
    await until('it has a new card', () => told.mock.calls.length > 0)
    busy.net.setReady(founder.id)
    await until('the founder knows that it is full', () => seen() === 0)
    founder.net.setReady(busy.id, false)
    change(3)
    await until('the founder refused its card', () => refusals > 0)
    founder.net.setReady(busy.id)
    await until('the founder knows that it has room', () => seen() === 3)
  })

  test('a capability that comes later, or whose announcement failed, is in the label index soon', async () => {
    mesh = new MemoryMesh()
    let labels = ['first']
    const offer = {
      executors: [],
      get labels() {
        return labels
      },
    }
    const founder = await mesh.found()
    let skipMs = 0
    const now = () => performance.now() + skipMs
    const member = await mesh.join(founder, 'member', { offer, labelIndex: true, directoryNow: now })
    const indexed = async (label: string) => {
      const found: string[] = []
      for await (const peer of founder.net.findProviders(label)) found.push(peer)
      return found.length
    }
    const { provide } = member.net
    let fails = true
    member.net.provide = (label) =>
      fails ? Promise.reject(new Error('nobody answers')) : provide.call(member.net, label)
    await until('served', () => member.net.connections().some(({ ready }) => ready))
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    expect(await indexed('first')).toBe(0)
    fails = false
    labels = ['first', 'second']
    member.directory.changed()
    skipMs = 60_000
    await new Promise((resolve) => setTimeout(resolve, 3_500))
    expect([await indexed('first'), await indexed('second')]).toEqual([1, 1])
  })

  test('a restarted node is found again by its address book, with a higher sequence', async () => {
    mesh = new MemoryMesh()
    const founder = await mesh.found()
    const a = await mesh.join(founder, 'a')
    const b = await mesh.join(founder, 'b')
    await until('a and b are connected', () => a.net.isConnected(b.id))
    const before = b.directory.card(a.id)?.sequence ?? 0
    mesh.crash(a)
    mesh.crash(founder)
    const again = await mesh.up({ mesh: { ...a.mesh, bootstrap: [] }, signer: a.signer, journal: a.journal })
    await until('they meet without the founder', () => again.net.isConnected(b.id))
    await until('its new card replaced the old', () => (b.directory.card(a.id)?.sequence ?? 0) > before)
    expect(b.alarms).toEqual([])
  })

  const stored = (member: TestMember, peer: string) => {
    const row = member.journal.get('address', peer)
    return row && manyhands.AddressBookEntry.decode(row).addresses
  }

  test('P2P-15: where a stranger says that a member is replaces nothing it said itself', async () => {
    mesh = new MemoryMesh()
    const founder = await mesh.found()
    const away = await mesh.join(founder, 'away')
    await until('its address is stored', () => stored(founder, away.id) !== undefined)
    mesh.crash(away)
    await until('it is away', () => !founder.net.isConnected(away.id))
    mesh.network.announce(founder.id, away.id, ['memory://stranger'])
    await founder.journal.append({ type: 'peer.address', body: new Uint8Array() })
    expect(stored(founder, away.id)).toEqual([`memory://${away.id}`])
  })

  test('P2P-15: a member that was only found is connected after a lie too, and what it signed is stored', async () => {
    mesh = new MemoryMesh()
    const founder = await mesh.found()
    const [a, b] = [await mesh.join(founder, 'a'), await mesh.join(founder, 'b')]
    await until('both know both', () => b.membership.isMember(a.id) && a.membership.isMember(b.id))
    for (const member of [founder, a, b]) mesh.crash(member)
    for (const { journal } of [a, b])
      for (const { key } of await journal.range('address', { limit: 10 }))
        await journal.append({ type: 'peer.address', body: new Uint8Array(), writes: [{ table: 'address', key }] })
    const up = (member: TestMember) => mesh.up({ ...member, mesh: { ...member.mesh, bootstrap: [] } })
    const again = await up(a)
    await up(b)
    mesh.network.announce(a.id, b.id, ['memory://stranger'])
    await new Promise((resolve) => setTimeout(resolve, 200))
    expect([again.net.isConnected(b.id), stored(again, b.id)]).toEqual([false, undefined])
    mesh.network.announce(a.id, b.id, [`memory://${b.id}`])
    await until('they meet', () => again.net.isConnected(b.id))
    await until('the signed address is stored', () => stored(again, b.id)?.[0] === `memory://${b.id}`)
  })
})

test('the address book stores and compares no more addresses than it uses', async () => {
  const journal = new MemoryJournal({ types: DISCOVERY_RECORDS })
  const book = new AddressBook(journal, () => 0)
  const many = Array.from({ length: LIMITS.addresses + 1 }, (_, at) => `memory://${at}`)
  const { nodeId } = newSigner()
  expect([book.learn(nodeId, many), book.learn(nodeId, many)]).toEqual([true, false])
  await journal.append({ type: 'peer.address', body: new Uint8Array() })
  const row = journal.get('address', nodeId) ?? new Uint8Array()
  expect(manyhands.AddressBookEntry.decode(row).addresses).toHaveLength(LIMITS.addresses)
})

test('a pinned peer with as many addresses as are dialed is found where it says that it is now', () => {
  const book = new AddressBook(new MemoryJournal({ types: DISCOVERY_RECORDS }), () => 0)
  const { nodeId } = newSigner()
  const invited = Array.from({ length: LIMITS.addresses }, (_, at) => `memory://old-${at}`)
  book.pin(nodeId, invited)
  expect(book.of(nodeId)).toEqual(invited)
  book.learn(nodeId, ['memory://new'])
  expect(book.of(nodeId)).toEqual([...invited.slice(0, -1), 'memory://new'])
  // however many it says, half are those of the operator
  book.learn(
    nodeId,
    invited.map((_, at) => `memory://lie-${at}`),
  )
  expect(book.of(nodeId).slice(0, LIMITS.addresses / 2)).toEqual(invited.slice(0, LIMITS.addresses / 2))
  expect(book.of(nodeId)).toHaveLength(LIMITS.addresses)
})
