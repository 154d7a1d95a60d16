import { connect, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, test, vi } from 'vitest'
import { type Libp2pNets as Nets, Libp2pNets } from '../support/mesh-nets.ts'

let nets: Nets = new Libp2pNets()
const sockets: Socket[] = []

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy()
  await nets.closeAll()
  nets = new Libp2pNets()
})

const portOf = (address = ''): number => Number(address.split('/')[4])

/** A connection that is not libp2p's, and what came back on it. */
function rawPeer(port: number): { socket: Socket; got: () => Buffer; closed: () => boolean } {
  const socket = connect(port, '127.0.0.1')
  let got = Buffer.alloc(0)
  let closed = false
  socket.on('data', (data) => {
    got = Buffer.concat([got, data])
  })
  socket.on('error', () => undefined)
  socket.on('close', () => {
    closed = true
  })
  sockets.push(socket)
  return { socket, got: () => got, closed: () => closed }
}

const HELLO = Buffer.from('\x13/multistream/1.0.0\n')

test('P2P-02 who speaks plainly gets a nonce and a tag, no word of any protocol, and is closed', async () => {
  const net = await nets.make()
  const peer = rawPeer(portOf(net.addresses()[0]))
  peer.socket.write(Buffer.concat([HELLO, HELLO, HELLO, HELLO]))
  await vi.waitFor(() => expect(peer.closed()).toBe(true))
  expect(peer.got().length).toBeLessThanOrEqual(64)
  expect(peer.got().includes('multistream')).toBe(false)
})

test('P2P-02 sending the listener its own bytes back does not pass', async () => {
  const net = await nets.make()
  const peer = rawPeer(portOf(net.addresses()[0]))
  peer.socket.on('data', (data) => peer.socket.write(data))
  await vi.waitFor(() => expect(peer.closed()).toBe(true))
  expect(peer.got().length).toBeLessThanOrEqual(64)
})

test('P2P-02 recorded bytes of a member do not pass a second time', async () => {
  const net = await nets.make()
  const member = await nets.make()
  const recorded: Buffer[] = []
  const port = portOf(net.addresses()[0])
  const tap = createServer((client) => {
    const server = connect(port, '127.0.0.1')
    sockets.push(client, server)
    client.on('data', (data) => recorded.push(data)).on('error', () => undefined)
    server.on('error', () => undefined)
    client.pipe(server).pipe(client)
  })
  await new Promise<void>((resolve) => tap.listen(0, '127.0.0.1', resolve))
  const address = tap.address()
  await member.connect(net.self, [`/ip4/127.0.0.1/tcp/${typeof address === 'object' ? address?.port : 0}`])
  tap.close()
  const peer = rawPeer(port)
  peer.socket.write(Buffer.concat(recorded))
  await vi.waitFor(() => expect(peer.closed()).toBe(true))
  expect(peer.got().length).toBeLessThanOrEqual(64)
})

test('P2P-03 hundreds of connections that say nothing are cut down, and members are served on', async () => {
  nets = new Libp2pNets({ inboundPerSecond: 10 })
  const net = await nets.make()
  const member = await nets.make()
  net.handle('well', (body) => body)
  await member.connect(net.self, net.addresses())
  const flood = Array.from({ length: 300 }, () => rawPeer(portOf(net.addresses()[0])))
  await vi.waitFor(() => expect(flood.filter((peer) => !peer.closed()).length).toBeLessThanOrEqual(20), 5000)
  expect(await member.request(net.self, 'well', Uint8Array.of(1))).toEqual(Uint8Array.of(1))
})

test('P2P-16 an address of this host that a peer named is not dialed', async () => {
  nets = new Libp2pNets({ allowLoopback: false, allowPrivate: false })
  const net = await nets.make()
  const other = await nets.make()
  let dialed = 0
  const local = createServer((socket) => {
    dialed++
    socket.destroy()
  })
  await new Promise<void>((resolve) => local.listen(0, resolve))
  const address = local.address()
  const port = typeof address === 'object' ? address?.port : 0
  const poison = [
    '/ip4/127.0.0.1',
    '/ip6/::1',
    '/ip6/::ffff:127.0.0.1',
    '/dns4/localhost',
    '/dns/localhost',
    '/ip4/0.0.0.0',
    '/ip4/169.254.169.254',
  ]
  await expect(
    net.connect(
      other.self,
      poison.map((host) => `${host}/tcp/${port}`),
    ),
  ).rejects.toMatchObject({ code: 'E_UNREACHABLE' })
  await sleep(20)
  expect(dialed).toBe(0)
  local.close()
})
