/** Hostile and faulty members against the real services over the network in memory. Names begin with the row of the threat table. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { encodeCardsPage, encodeCardsQuery } from '../../protocol/card/card-page.ts'
import { openCard, signCard } from '../../protocol/card/card.ts'
import { MeshError } from '../../protocol/errors.ts'
import { encodeHello, encodeLists, encodeNotice, METHODS } from '../../protocol/membership/hello.ts'
import { encodeList, type MemberList, signList } from '../../protocol/membership/member-list.ts'
import { encodeSigned } from '../../protocol/signing/signed.ts'
import { MemoryMesh, newSigner, type TestMember, until } from '../support/memory-mesh.ts'

const code = (promise: Promise<unknown>) =>
  promise.then(
    () => 'ok',
    (error: { code?: string }) => error.code,
  )

describe('membership under attack', () => {
  let mesh: MemoryMesh
  let founder: TestMember
  beforeEach(async () => {
    mesh = new MemoryMesh()
    founder = await mesh.found()
  })
  afterEach(() => mesh.close())

  test('P2P-01 a stranger is not let in, and no handler hears of it', async () => {
    const stranger = newSigner()
    const net = mesh.network.join({ self: stranger.nodeId, gate: { admits: () => true, serves: () => true } })
    expect(await code(net.connect(founder.id))).toBe('E_UNREACHABLE')
    expect(founder.net.connections()).toEqual([])
    await net.close()
  })

  test('P2P-10 an invite serves one node, also when tried at once, again later, and after a restart', async () => {
    const { invite } = await founder.joins.invite({})
    const [first, second] = [newSigner(), newSigner()]
    const results = await Promise.all([
      code(mesh.joinWith(invite, first, 'one')),
      code(mesh.joinWith(invite, second, 'two')),
    ])
    expect(results.filter((result) => result === 'ok')).toHaveLength(1)
    expect(founder.membership.members().size).toBe(2)
    const other = newSigner()
    expect(await code(mesh.joinWith(invite, other, 'three'))).toBe('E_INVITE')
    const { mesh: file, signer, journal } = founder
    mesh.crash(founder)
    founder = await mesh.up({ mesh: file, signer, journal })
    expect(await code(mesh.joinWith(invite, other, 'three'))).toBe('E_INVITE')
    expect(founder.membership.members().size).toBe(2)
  })

  test('P2P-10 the joiner whose answer was lost gets the same place again, until it is here', async () => {
    const { invite } = await founder.joins.invite({})
    const joiner = newSigner()
    await mesh.joinWith(invite, joiner, 'one')
    const again = await mesh.joinWith(invite, joiner, 'one')
    expect(founder.membership.members().size).toBe(2)
    const member = await mesh.up({ mesh: again.mesh, signer: joiner })
    await until('it is served', () =>
      founder.events.some((event) => event.type === 'ready' && event.peer === member.id),
    )
    expect(await code(mesh.joinWith(invite, joiner, 'one'))).toBe('E_UNREACHABLE')
  })

  test('P2P-10 a hello of another mesh is refused, and one sent twice changes nothing', async () => {
    const member = await mesh.join(founder, 'member')
    await until('connected', () => member.net.isConnected(founder.id))
    const digest = new Uint8Array(32)
    const hello = { epoch: 1, digest, card: undefined, version: '0', instance: 1, journalHigh: 0, yourJournalHigh: 0 }
    const foreign = encodeHello({ ...hello, meshId: '0'.repeat(32) })
    expect(await code(member.net.request(founder.id, METHODS.hello, foreign))).toBe('E_NOT_MEMBER')
    const own = encodeHello({ ...hello, meshId: founder.mesh.meshId })
    const before = founder.membership.view()
    await member.net.request(founder.id, METHODS.hello, own)
    await member.net.request(founder.id, METHODS.hello, own)
    expect(founder.membership.view()).toEqual(before)
  })

  test('P2P-05 a member that tells of another list without end is asked for one at a time', async () => {
    const liar = await mesh.join(founder, 'liar')
    await until('connected', () => liar.net.isConnected(founder.id))
    let [open, most, asked] = [0, 0, 0]
    liar.net.handle(METHODS.list, async () => {
      asked++
      most = Math.max(most, ++open)
      await new Promise((resolve) => setTimeout(resolve, 20))
      open--
      return encodeLists(founder.membership.signedList, [])
    })
    const notice = encodeNotice(99, new Uint8Array(32))
    for (let sent = 0; sent < 50; sent++) await liar.net.request(founder.id, METHODS.noticeList, notice)
    await until('asked once more for what came meanwhile', () => asked > 1 && open === 0)
    expect(most).toBe(1)
  })

  test('P2P-05 a connection is one event for those who watch, however many hellos come', async () => {
    const member = await mesh.join(founder, 'member')
    await until('served', () => founder.net.connections().some(({ ready }) => ready))
    const digest = new Uint8Array(32)
    const same = { meshId: founder.mesh.meshId, epoch: 1, digest, card: undefined, version: '0', instance: 1 }
    const hello = encodeHello({ ...same, journalHigh: 0, yourJournalHigh: 0 })
    for (let sent = 0; sent < 20; sent++) await member.net.request(founder.id, METHODS.hello, hello)
    expect(founder.events.filter(({ type }) => type === 'ready')).toHaveLength(1)
  })

  test('P2P-12 a member that is no admin cannot invite, revoke, or sign a list', async () => {
    const member = await mesh.join(founder, 'member')
    const victim = await mesh.join(founder, 'victim')
    await until('connected', () => member.net.isConnected(founder.id) && member.net.isConnected(victim.id))
    expect(await code(member.joins.invite({}))).toBe('E_FORBIDDEN')
    expect(await code(member.membership.revoke('victim'))).toBe('E_FORBIDDEN')
    const list = listOf(founder)
    const forged = signList(member.signer, {
      ...list,
      epoch: list.epoch + 1,
      members: list.members.map((entry) => (entry.nodeId === member.id ? { ...entry, role: 'admin' } : entry)),
    })
    for (const peer of [founder, victim])
      await member.net.request(peer.id, METHODS.pushList, encodeLists(forged.signed, []))
    await until('both sound an alarm', () =>
      [founder, victim].every(({ alarms }) => alarms.includes('member-list-refused')),
    )
    expect(founder.membership.member(member.id)?.role).toBe('member')
    expect(victim.membership.epoch).toBe(founder.membership.epoch)
  })

  test('P2P-12 joiners that share a name of many bytes get names that every node and a restart can read', async () => {
    // the second has letters of two UTF-16 units, where a cut must not fall between the two
    for (const name of ['é'.repeat(32), '🙂'.repeat(16)]) {
      await mesh.join(founder, name)
      const second = await mesh.join(founder, name)
      const given = second.membership.member(second.id)?.name ?? ''
      expect(given).toMatch(/^(é{28}|🙂{14})-\w{6}$/u)
    }
    const { mesh: file, signer, journal } = founder
    mesh.crash(founder)
    founder = await mesh.up({ mesh: file, signer, journal })
    expect(founder.membership.members().size).toBe(5)
  })

  test('P2P-12 no joiner gets the id of a node as its name, or a word that names a place', async () => {
    const names = [founder.id, 'local', 'any', 'other']
    for (const name of names) {
      const joiner = await mesh.join(founder, name)
      expect(joiner.membership.member(joiner.id)?.name).toBe(`${name}-${joiner.id.slice(-6)}`)
    }
  })

  test('P2P-12 a list signed in the name of an admin by another key is refused', async () => {
    const member = await mesh.join(founder, 'member')
    await until('connected', () => member.net.isConnected(founder.id))
    const body = encodeList({ ...listOf(founder), epoch: 50 })
    const forged = { body, signer: founder.id, signature: member.signer.sign(body) }
    await member.net.request(founder.id, METHODS.pushList, encodeLists(forged, []))
    await until('an alarm', () => founder.alarms.includes('member-list-refused'))
    expect(founder.membership.epoch).toBe(2)
  })

  test('P2P-15 hostile answers about discovery give nothing: cards of strangers, of others, altered, and pages without end', async () => {
    const liar = await mesh.join(founder, 'liar')
    const victim = await mesh.join(founder, 'victim')
    const stranger = newSigner()
    const real = openCard(liar.directory.ownCard())
    const ofStranger = signCard(stranger, { ...real.card, nodeId: stranger.nodeId })
    const ofFounder = openCard(founder.directory.ownCard())
    const altered = {
      ...ofFounder.signed,
      body: Uint8Array.from(ofFounder.signed.body, (byte, at) => (at === 90 ? byte ^ 1 : byte)),
    }
    let pages = 0
    liar.net.handle(METHODS.cards, () => {
      pages++
      const cards = [ofStranger.signed, altered].map((signed) => ({ signed, ageMs: 0 }))
      return encodeCardsPage({ cards, next: founder.id })
    })
    await until('the victim knows the founder', () => victim.directory.card(founder.id) !== undefined)
    mesh.crash(victim)
    const { mesh: file, signer, journal } = victim
    const again = await mesh.up({
      mesh: { ...file, bootstrap: [{ peer: liar.id, addresses: ['x'] }] },
      signer,
      journal,
    })
    await until('the liar was asked', () => pages > 0)
    await until('peers known before are reached all the same', () => again.net.isConnected(founder.id))
    await until('the founder offers', () => again.directory.card(founder.id) !== undefined)
    expect(pages).toBeLessThan(10)
    expect(again.directory.card(stranger.nodeId)).toBeUndefined()
    expect(again.directory.nodes().map(({ node }) => node)).not.toContain(stranger.nodeId)
    // the card of another, pushed as its own: refused too
    await until('the liar may push', () => liar.net.connections().some(({ peer, ready }) => ready && peer === again.id))
    const other = openCard(founder.directory.ownCard())
    const before = again.alarms.length
    await until('an alarm', () => {
      liar.net.request(again.id, METHODS.pushCard, encodeSigned(other.signed)).catch(() => undefined)
      return again.alarms.length > before
    })
    expect(again.alarms).toContain('card-refused')
  })

  test('P2P-15 two cards with one sequence are an alarm', async () => {
    const liar = await mesh.join(founder, 'liar')
    await until('the card is known', () => founder.directory.card(liar.id) !== undefined)
    await until('served', () => founder.net.connections().every(({ ready }) => ready))
    const { card } = openCard(liar.directory.ownCard())
    const known = founder.directory.card(liar.id)?.sequence ?? 0
    const other = signCard(liar.signer, { ...card, sequence: known, name: 'someone-else' })
    await liar.net.request(founder.id, METHODS.pushCard, encodeSigned(other.signed))
    expect(founder.alarms).toContain('equivocation')
  })

  test('P2P-17 a revoked node is cut off from all connected members, fenced, and stays out', async () => {
    const [bad, a, b] = [await mesh.join(founder, 'bad'), await mesh.join(founder, 'a'), await mesh.join(founder, 'b')]
    await until('all connected', () => mesh.members.every(({ net }) => net.connections().length === 3))
    const start = performance.now()
    await founder.membership.revoke('bad')
    const others = [founder, a, b]
    await until('it is cut off', () => others.every(({ net }) => !net.isConnected(bad.id)), 5_000)
    expect(performance.now() - start).toBeLessThan(5_000)
    for (const { events } of others)
      expect(events).toContainEqual({ type: 'expelled', peer: bad.id, name: 'bad', epoch: 5 })
    // It was told, so it does not even try.
    await until('it knows', () => !bad.membership.isIn)
    expect(await code(bad.net.connect(a.id))).toBe('E_NOT_MEMBER')
    expect(a.directory.card(bad.id)).toBeUndefined()
    expect(founder.membership.view().revoked).toEqual([{ id: bad.id, epoch: 5 }])
  })

  test('P2P-17 what a revoked node asks while it is being told is refused', async () => {
    const bad = await mesh.join(founder, 'bad')
    await until('served', () => founder.net.connections().every(({ ready }) => ready))
    let asked = 0
    founder.net.handle('work', () => (asked++, new Uint8Array()))
    expect(await code(bad.net.request(founder.id, 'work', new Uint8Array()))).toBe('ok')
    const late: Promise<string | undefined>[] = []
    founder.membership.on((event) => {
      if (event.type === 'expelled') late.push(code(bad.net.request(founder.id, 'work', new Uint8Array())))
    })
    await founder.membership.revoke('bad')
    expect(await Promise.all(late)).toEqual(['E_SYNCING'])
    expect(asked).toBe(1)
  })

  test('P2P-17 a node that was away applies the revocation before it serves the revoked one', async () => {
    await mesh.close()
    mesh = new MemoryMesh(60_000)
    founder = await mesh.found()
    const bad = await mesh.join(founder, 'bad')
    const away = await mesh.join(founder, 'away')
    await until('all connected', () => mesh.members.every(({ net }) => net.connections().length === 2))
    mesh.crash(away)
    await founder.membership.revoke('bad')
    mesh.crash(founder)
    const stale = await mesh.up({ mesh: away.mesh, signer: away.signer, journal: away.journal })
    await until('the revoked node is connected to the stale one', () => bad.net.isConnected(stale.id))
    const query = encodeCardsQuery({ label: undefined, max: 1, after: undefined })
    expect(await code(bad.net.request(stale.id, METHODS.cards, query))).toBe('E_SYNCING')
    founder = await mesh.up({ mesh: founder.mesh, signer: founder.signer, journal: founder.journal })
    await until('the stale node caught up', () => stale.membership.epoch === founder.membership.epoch)
    await until('and put it out', () => !stale.net.isConnected(bad.id))
    expect(stale.events.some((event) => event.type === 'ready' && event.peer === bad.id)).toBe(false)
  })

  test('P2P-17 a node that stood still holds back towards the members it is connected to', async () => {
    await mesh.close()
    mesh = new MemoryMesh(1_500)
    founder = await mesh.found()
    let stoodMs = 0
    const slept = await mesh.join(founder, 'slept', { now: () => performance.now() + stoodMs })
    const member = await mesh.join(founder, 'member')
    const query = encodeCardsQuery({ label: undefined, max: 1, after: undefined })
    const ask = (from: TestMember) => code(from.net.request(slept.id, METHODS.cards, query))
    const isReady = () => slept.net.connections().filter(({ ready }) => ready).length === 2
    await until('both are served', isReady)
    stoodMs = 3_600_000
    await until('it holds back', () => !isReady())
    expect([await ask(founder), await ask(member)]).toEqual(['ok', 'E_SYNCING'])
    await until('it has looked long enough', isReady)
    expect(await ask(member)).toBe('ok')
  })

  test('P2P-17 a node that could not get the list it heard of asks for it again', async () => {
    const bad = await mesh.join(founder, 'bad')
    const away = await mesh.join(founder, 'away')
    await until('all connected', () => mesh.members.every(({ net }) => net.connections().length === 2))
    mesh.crash(away)
    mesh.crash(bad)
    await founder.membership.revoke('bad')
    let fails = true
    founder.net.handle(METHODS.list, () => {
      if (fails) throw new MeshError('E_OVERLOADED', 'Too many at once')
      return encodeLists(founder.membership.signedList, [])
    })
    const back = await mesh.up(away)
    await until('it is connected', () => back.net.connections().some(({ ready }) => ready))
    fails = false
    await until('it knows after all', () => !back.membership.isMember(bad.id))
  })

  test('P2P-17 a connected node that did not take the list when it was sent hears of it again', async () => {
    const bad = await mesh.join(founder, 'bad')
    const member = await mesh.join(founder, 'member')
    await until('all connected', () => mesh.members.every(({ net }) => net.connections().length === 2))
    mesh.crash(bad)
    member.net.handle(METHODS.pushList, () => {
      throw new MeshError('E_OVERLOADED', 'Too many at once')
    })
    await founder.membership.revoke('bad')
    await until('it knows after all', () => !member.membership.isMember(bad.id))
  })

  test('P2P-18 an old list, pushed again, changes nothing', async () => {
    const bad = await mesh.join(founder, 'bad')
    const member = await mesh.join(founder, 'member')
    await until('connected', () => mesh.members.every(({ net }) => net.connections().length === 2))
    const old = founder.membership.signedList
    await founder.membership.revoke('bad')
    await until('the member knows', () => !member.membership.isMember(bad.id))
    const epoch = member.membership.epoch
    await member.net.request(founder.id, METHODS.pushList, encodeLists(old, []))
    await founder.net.request(member.id, METHODS.pushList, encodeLists(old, []))
    for (const node of [founder, member]) {
      expect(node.membership.epoch).toBe(epoch)
      expect(node.membership.isMember(bad.id)).toBe(false)
    }
  })

  test('JRN-07 the same identity running twice is an alarm to the others', async () => {
    const member = await mesh.join(founder, 'member')
    await until('known', () => founder.directory.card(member.id) !== undefined)
    const hello = { meshId: founder.mesh.meshId, epoch: 2, digest: new Uint8Array(32), card: undefined, version: '0' }
    const say = (instance: number) =>
      member.net.request(
        founder.id,
        METHODS.hello,
        encodeHello({ ...hello, instance, journalHigh: 0, yourJournalHigh: 0 }),
      )
    await say(1)
    await say(2)
    await say(1)
    expect(founder.alarms).toContain('two-instances')
  })

  test('JRN-06 a peer that heard more of our journal than we hold is an alarm', async () => {
    const member = await mesh.join(founder, 'member')
    await until('known', () => founder.directory.card(member.id) !== undefined)
    const hello = { meshId: founder.mesh.meshId, epoch: 2, digest: new Uint8Array(32), card: undefined, version: '0' }
    const told = { instance: 7, journalHigh: 0, yourJournalHigh: founder.journal.head + 100 }
    await member.net.request(founder.id, METHODS.hello, encodeHello({ ...hello, ...told }))
    expect(founder.alarms).toContain('journal-rollback')
  })

  test('F24 only the expiry of invites looks at the wall clock, with a minute of tolerance', async () => {
    await mesh.close()
    mesh = new MemoryMesh()
    let wall = 1_000_000_000_000
    founder = await mesh.found('founder', { wallMs: () => wall })
    const joinAt = (text: string, wallMs: number, signer = newSigner()) =>
      mesh.joinWith(text, signer, 'joiner', () => wallMs)
    const invite = async () => (await founder.joins.invite({ ttlMs: 1_000 })).invite
    const joiner = newSigner()
    const member = await mesh.up({ mesh: (await joinAt(await invite(), wall, joiner)).mesh, signer: joiner })
    const inTime = await invite()
    wall += 60_500
    expect(await code(joinAt(inTime, wall))).toBe('ok')
    const late = await invite()
    wall += 62_000
    expect(await code(joinAt(late, wall))).toBe('E_INVITE')
    expect(await code(joinAt(late, wall - 62_000))).toBe('E_UNREACHABLE')
    wall += 10 * 365 * 86_400_000
    await until('connected through the jump', () => member.net.isConnected(founder.id))
    wall -= 20 * 365 * 86_400_000
    await founder.membership.revoke(member.id)
    await until('revoked through the jump', () => !founder.net.isConnected(member.id))
  })
})

function listOf(member: TestMember): MemberList {
  const { meshId, epoch, members } = member.membership.view()
  return {
    meshId,
    epoch,
    previous: new Uint8Array(32),
    members: members.map(({ id, name, role, sinceEpoch }) => ({ nodeId: id, name, role, sinceEpoch })),
    revoked: [],
  }
}
