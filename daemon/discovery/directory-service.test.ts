import { afterEach, describe, expect, test } from 'vitest'
import { ISOLATE, MemoryMesh, type TestMember, until } from '../../test/support/memory-mesh.ts'

describe('directory service, without gossip and label index', () => {
  let mesh: MemoryMesh
  afterEach(() => mesh.close())

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

  test('a change of capacity reaches the others', async () => {
    mesh = new MemoryMesh()
    let free = 4
    const offer = {
      get executors() {
        return ISOLATE.executors.map((executor) => ({ ...executor, free }))
      },
      labels: [],
    }
    const founder = await mesh.found()
    const busy = await mesh.join(founder, 'busy', { offer })
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
})
