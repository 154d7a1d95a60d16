import { afterEach, describe, expect, it } from 'vitest'
import { connect, type Mesh } from '../../sdk/src/index.ts'
import { type FakeDaemon, startFake } from './sdk-fake.ts'
import { sdkSuite } from './sdk-suite.ts'

sdkSuite('the fake daemon', startFake)

describe('SDK when the connection is lost', () => {
  let daemon: FakeDaemon | undefined
  let mesh: Mesh | undefined
  afterEach(async () => {
    await mesh?.close()
    await daemon?.stop()
  })

  const begin = async (): Promise<{ daemon: FakeDaemon; mesh: Mesh }> => {
    daemon = await startFake()
    mesh = await connect({ home: daemon.home })
    return { daemon, mesh }
  }

  it('SDK-06 asks again with the same key: one effect, one answer', async () => {
    const { daemon, mesh } = await begin()
    daemon.faults?.dropAnswers(2)
    expect(await mesh.run('export default (n) => n + 1', { input: 1 })).toBe(2)
    daemon.faults?.dropAnswers(1)
    expect(await mesh.map('export default (n) => n + 1', [1, 2]).all()).toEqual([2, 3])
    expect(daemon.faults?.started()).toBe(2)
  })

  it('SDK-06 sends what follows the first run as frames, what is long as a request, and asks by a request when the frames are lost', async () => {
    const { daemon, mesh } = await begin()
    const requests = (): number => daemon.seen.filter((name) => name === 'POST /v0/tasks').length
    const same = 'export default (x) => x'
    for (let n = 0; n < 3; n++) expect(await mesh.run(same, { input: n })).toBe(n)
    expect(requests()).toBe(1)
    const long = 'x'.repeat(300_000)
    expect(await mesh.run(same, { input: long })).toBe(long)
    expect(requests()).toBe(2)
    const slow = mesh.run('export default () => new Promise((resolve) => setTimeout(() => resolve(7), 200))')
    await expect.poll(() => daemon.faults?.started()).toBe(5)
    daemon.faults?.cutConnections()
    expect(await slow).toBe(7)
    expect([requests(), daemon.faults?.started()]).toEqual([3, 5])
    await expect(mesh.run('export default () => { throw new Error("no") }')).rejects.toMatchObject({ code: 'E_GUEST' })
  })

  it('resumes events by their id, losing and repeating none', async () => {
    const { daemon, mesh } = await begin()
    const names: string[] = []
    const told: string[] = []
    const stop = new AbortController()
    const notes = { onLost: () => told.push('lost'), onReconnect: () => told.push('back') }
    const reading = (async () => {
      for await (const event of mesh.events({ signal: stop.signal, ...notes })) {
        if (event.type === 'peer-up') names.push(event.name)
        if (names.length === 3) break
      }
    })()
    daemon.emit({ type: 'peer-up', peer: 'p', name: 'one' })
    await expect.poll(() => names.length).toBe(1)
    daemon.faults?.cutConnections()
    daemon.emit({ type: 'peer-up', peer: 'p', name: 'two' })
    await expect.poll(() => names.length).toBe(2)
    daemon.faults?.cutConnections()
    daemon.emit({ type: 'peer-up', peer: 'p', name: 'three' })
    await reading
    expect(names).toEqual(['one', 'two', 'three'])
    expect(told).toEqual(['lost', 'back', 'lost', 'back'])
  })

  it('fails the open calls of a session, and opens the next one on a new connection', async () => {
    const { daemon, mesh } = await begin()
    const session = await mesh.session<number, number>(
      'export default (n) => new Promise((r) => setTimeout(() => r(n), n))',
    )
    const open = session.call(60_000)
    daemon.faults?.cutConnections()
    await expect(open).rejects.toMatchObject({ code: 'E_UNREACHABLE' })
    await expect(session.call(1)).rejects.toMatchObject({ code: 'E_UNREACHABLE' })
    await using next = await mesh.session<number, number>('export default (n) => n')
    expect(await next.call(5)).toBe(5)
  })

  it('never sends the token on a connection that did not answer its challenge', async () => {
    const { daemon, mesh } = await begin()
    await Promise.all(Array.from({ length: 20 }, () => mesh.status()))
    daemon.faults?.cutConnections()
    const before = daemon.seen.filter((name) => name === 'GET /v0/challenge').length
    await mesh.status()
    expect(daemon.seen.filter((name) => name === 'GET /v0/challenge').length).toBeGreaterThan(before)
  })
})
