/** Egress that leads home and services of the mesh: who may, and nothing else. Over the network in memory and over libp2p. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { EgressDoor } from '../../daemon/egress/egress.ts'
import { openTunnel, TunnelRefused } from '../../daemon/egress/tunnel-stream.ts'
import type { MeshNet } from '../../daemon/net/mesh-net.ts'
import { ask, collect, EgressKit, get, httpsText, secure, tunnel } from '../support/egress-kit.ts'
import { Libp2pNets, MemoryNets, type Nets } from '../support/mesh-nets.ts'

describe.each([
  ['memory', () => new MemoryNets()],
  ['libp2p', () => new Libp2pNets()],
] as const)('tunnels over %s', (_name, makeNets) => {
  let nets: Nets
  let homeNet: MeshNet
  let workNet: MeshNet
  let home: EgressKit
  let work: EgressKit
  let at: EgressDoor

  beforeEach(async () => {
    nets = makeNets()
    homeNet = await nets.make()
    workNet = await nets.make()
    home = new EgressKit()
    work = new EgressKit()
    await home.start({ self: homeNet.self, net: homeNet, findService: () => [workNet.self] })
    at = await work.start({ self: workNet.self, net: workNet, findService: () => [homeNet.self] })
    await workNet.connect(homeNet.self, homeNet.addresses())
    await vi.waitFor(() => expect(homeNet.connections()).toMatchObject([{ ready: true }]))
    await vi.waitFor(() => expect(workNet.connections()).toMatchObject([{ ready: true }]))
  })
  afterEach(async () => {
    await home.close()
    await work.close()
    await nets.closeAll()
  })

  test('a lent door: rules, names and secrets of home apply; the working node sees neither secret nor key; taken back, it is closed at once', async () => {
    const port = await home.https('api.test', (request, response) => {
      if (request.headers.authorization !== 'Bearer canary-home-1') response.end('without')
      else if (request.url === '/big') response.end(Buffer.alloc(3 << 20, 'x'))
      else if (request.url === '/hang') response.write('first')
      else response.end('with the secret')
    })
    await home.egress.secrets.set('token', 'canary-home-1')
    await home.allow({
      host: 'api.test',
      ports: [port],
      for: ['agent/ci'],
      inject: [{ header: 'authorization', secret: 'token' }],
    })
    const lent = await home.egress.lend({ agent: 'ci', sandbox: 'box' }, workNet.self)
    expect(JSON.stringify(lent.ticket)).not.toContain('canary')
    const door = await at.leadHome(homeNet.self, structuredClone(lent.ticket))
    const request = async (path: string) => {
      const socket = await tunnel(door, `api.test:${port}`)
      if (typeof socket === 'number') throw new Error(`refused: ${socket}`)
      const tls = await secure(socket, 'api.test', door.caPem)
      tls.write(httpsText(path, `api.test:${port}`))
      return tls
    }
    expect(await collect(await request('/'))).toContain('with the secret')
    expect((await collect(await request('/big'), 15_000)).length).toBeGreaterThan(3 << 20)
    expect(await tunnel(door, 'other.test:443')).toBe(403)
    expect(work.entries).toEqual([])
    await vi.waitFor(() =>
      expect(home.entries).toContainEqual(
        expect.objectContaining({
          reason: 'no-rule',
          host: 'other.test',
          subject: { agent: 'ci', sandbox: 'box', node: homeNet.self },
        }),
      ),
    )
    const open = await request('/hang')
    await once(open, 'data')
    const closed = once(open, 'close')
    await lent.close()
    await closed
    expect((await get(door, 'http://a.test/')).status).toBe(502)
    await door.close()
  })

  test('a ticket is for the peer it was lent to, and a made-up one is for nobody', async () => {
    const lent = await home.egress.lend({ agent: 'ci' }, 'some-other-node')
    for (const ticket of [lent.ticket.id, 'x'.repeat(43)])
      await expect(openTunnel(workNet, homeNet.self, { kind: 'door', ticket })).rejects.toMatchObject({
        status: 403,
        reason: 'no-grant',
      })
    await expect(at.leadHome(homeNet.self, { id: '', kit: lent.ticket.kit })).rejects.toMatchObject({
      code: 'E_BAD_REQUEST',
    })
    await lent.close()
  })

  test('a tunnel that begins with something else, too much or nothing is closed', async () => {
    for (const bytes of [
      Buffer.from([0xff, 0xff, 0xff, 0xff]),
      Buffer.from([0, 0, 0, 2, 0x7b, 0x21]),
      Buffer.from([0, 0, 0, 2, 0x7b, 0x7d]),
    ]) {
      const stream = await workNet.openStream(homeNet.self, '/manyhands/tunnel/1')
      await stream.write(bytes)
      let got = 0
      const read = async () => {
        for await (const chunk of stream.chunks()) got += chunk.length
      }
      await read().catch(() => undefined)
      expect(got).toBeLessThan(200)
    }
  })

  test('a service is reached by name by whom it is granted, and nothing else of that network is', async () => {
    const echo = await home.tcp((socket) => void socket.pipe(socket))
    const web = await home.http((_request, response) => response.end('inside'))
    await home.egress.services.expose({ name: 'pg', target: `tcp:127.0.0.1:${echo}`, grants: ['agent/report'] })
    await home.egress.services.expose({ name: 'web', target: `tcp:127.0.0.1:${web}`, grants: [`node/${workNet.self}`] })
    await work.egress.policy.put({ for: ['any'], effect: 'allow', host: '*.service.manyhands', ports: [80, 5432] })
    const report = await at.open({ agent: 'report' })
    const other = await at.open({ agent: 'other' })
    const talk = async (socket: Socket) => {
      socket.write('select 1')
      const [bytes] = (await once(socket, 'data')) as [Buffer]
      return bytes.toString()
    }
    const socket = await tunnel(report, 'pg.service.manyhands:5432')
    if (typeof socket === 'number') throw new Error(`refused: ${socket}`)
    expect(await talk(socket)).toBe('select 1')
    expect(await tunnel(other, 'pg.service.manyhands:5432')).toBe(403)
    expect(await tunnel(report, 'nothing.service.manyhands:5432')).toBe(403)
    expect(await tunnel(report, `127.0.0.1:${echo}`)).toBe(403)
    expect((await get(other, 'http://web.service.manyhands/x')).text).toContain('inside')
    await expect(
      openTunnel(workNet, homeNet.self, { kind: 'service', name: 'pg', subject: { agent: 'nobody' } }),
    ).rejects.toBeInstanceOf(TunnelRefused)
    // a grant taken back ends what it opened
    const closed = once(socket, 'close')
    await home.egress.services.expose({ name: 'pg', target: `tcp:127.0.0.1:${echo}`, grants: ['agent/nobody'] })
    await closed
    expect(await tunnel(report, 'pg.service.manyhands:5432')).toBe(403)
    expect(home.entries.map(({ kind, decision, reason }) => `${kind} ${decision} ${reason}`)).toEqual(
      expect.arrayContaining(['service allow service', 'service deny no-grant']),
    )
    await home.egress.services.remove('pg')
    expect(home.egress.services.list().map(({ name }) => name)).toEqual(['web'])
  })

  test('a service of this node needs no rule here, only the grant; a service elsewhere needs a rule', async () => {
    const echo = await work.tcp((socket) => void socket.end('mine'))
    await at.services.expose({ name: 'db', target: `tcp:127.0.0.1:${echo}`, grants: ['agent/report'] })
    await home.egress.services.expose({ name: 'far', target: `tcp:127.0.0.1:${echo}`, grants: ['any'] })
    const report = await at.open({ agent: 'report' })
    const socket = await tunnel(report, 'db.service.manyhands:1')
    if (typeof socket === 'number') throw new Error(`refused: ${socket}`)
    expect(await collect(socket)).toBe('mine')
    expect(await tunnel(report, 'far.service.manyhands:1')).toBe(403)
    await at.policy.put({ for: ['agent/report'], effect: 'deny', host: 'db.service.manyhands' })
    expect(await tunnel(report, 'db.service.manyhands:1')).toBe(403)
  })

  test('the connection between the nodes ends: so do the tunnels, and the door says why', async () => {
    const port = await home.tcp((socket) => void socket.write('hello'))
    await home.allow({ host: home.name('a.test'), ports: [port], opaque: true })
    const lent = await home.egress.lend({ agent: 'ci' }, workNet.self)
    const door = await at.leadHome(homeNet.self, lent.ticket)
    const socket = await tunnel(door, `a.test:${port}`)
    if (typeof socket === 'number') throw new Error(`refused: ${socket}`)
    const closed = once(socket.resume(), 'close')
    await workNet.disconnect(homeNet.self, 'test')
    await closed
    expect(await ask(door, 'GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n')).toMatch(/^HTTP\/1.1 502/)
    await door.close()
    const refused = connect(door.socketPath)
    await once(refused, 'error')
    await sleep(0)
  })
})
