/** The door under load and malice keeps its bounds and goes on serving: SBX-19. It dies and comes back on the same socket. */
import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { ask, collect, EgressKit, get, tunnel } from '../support/egress-kit.ts'

const kit = new EgressKit()

beforeAll(async () => {
  await kit.start()
})
beforeEach(() => kit.reset())
afterAll(() => kit.close())

const settle = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

async function residentMb(): Promise<number> {
  const pid = kit.proxyPid()
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024
}

test("SBX-19 a flood of connections is cut at the limit; others, and others' doors, go on", async () => {
  const port = await kit.tcp((socket) => socket.resume().on('end', () => socket.end()))
  const web = await kit.http((_request, response) => response.end('fine'))
  await kit.allow({ host: kit.name('sink.test'), ports: [port], opaque: true })
  await kit.allow({ host: kit.name('web.test'), ports: [web] })
  const door = await kit.egress.open({ agent: 'flood' }, { tunnels: 50 })
  const other = await kit.egress.open({ agent: 'other' })
  const before = await residentMb()
  const open: Socket[] = []
  let refused = 0
  for (let round = 0; round < 20; round++) {
    const results = await Promise.all(Array.from({ length: 50 }, () => tunnel(door, `sink.test:${port}`)))
    for (const result of results) {
      if (typeof result !== 'number') open.push(result)
      else if (result === 503) refused += 1
    }
  }
  expect(open.length).toBe(50)
  expect(refused).toBe(950)
  expect((await get(other, `http://web.test:${web}/`)).text).toContain('fine')
  expect((await residentMb()) - before).toBeLessThan(100)
  for (const socket of open) socket.destroy()
  await vi.waitFor(async () => {
    const again = await tunnel(door, `sink.test:${port}`)
    if (typeof again === 'number') throw new Error('still full')
    again.destroy()
  })
  await door.close()
  await other.close()
})

test('SBX-19 an upload to a host that does not read, and a client that does not read, hold no more than their buffers', async () => {
  const stalled = await kit.tcp((socket) => void socket.pause())
  const chunk = Buffer.alloc(1 << 20)
  const endless = await kit.http((_request, response) => {
    const push = () => {
      while (!response.destroyed && response.write(chunk)) {
        // until it says stop
      }
    }
    response.on('drain', push)
    push()
  })
  await kit.allow({ host: kit.name('stalled.test'), ports: [stalled], opaque: true })
  await kit.allow({ host: kit.name('endless.test'), ports: [endless] })
  const door = await kit.egress.open({ agent: 'greedy' })
  const before = await residentMb()
  const up = await tunnel(door, `stalled.test:${stalled}`)
  if (typeof up === 'number') throw new Error('refused')
  const down = connect(door.socketPath)
  down.write(`GET http://endless.test:${endless}/ HTTP/1.1\r\nHost: endless.test:${endless}\r\n\r\n`)
  down.pause()
  let sent = 0
  for (let i = 0; i < 300 && !up.writableNeedDrain; i++) {
    up.write(chunk)
    sent += chunk.length
    await settle(1)
  }
  await settle(300)
  expect(sent).toBeLessThan(100 << 20)
  expect((await residentMb()) - before).toBeLessThan(60)
  up.destroy()
  down.destroy()
  await door.close()
})

test('SBX-19 too long headers, endless headers and garbage get their answer', async () => {
  const door = await kit.egress.open({ agent: 'rude' })
  expect(await ask(door, `GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nX: ${'x'.repeat(40_000)}\r\n\r\n`)).toMatch(
    /^HTTP\/1.1 431/,
  )
  expect(await ask(door, '\u0016\u0003\u0001 not http\r\n\r\n')).toMatch(/^HTTP\/1.1 400/)
  expect(await ask(door, 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')).toMatch(/^HTTP\/1.1 400/)
  await door.close()
})

test('SBX-19 headers that trickle end after their time, whatever comes', async () => {
  const door = await kit.egress.open({ agent: 'slow' }, { handshakeMs: 800 })
  const socket = connect(door.socketPath)
  socket.on('error', () => undefined)
  socket.write('GET http://a.test/ HTTP/1.1\r\n')
  const drip = setInterval(() => socket.write('X: y\r\n'), 200)
  const text = await collect(socket, 20_000)
  clearInterval(drip)
  expect(text).toMatch(/^HTTP\/1.1 408/)
  await door.close()
})

test('limits of a door on bytes and idle time', async () => {
  const port = await kit.http((_request, response) => response.end(Buffer.alloc(300_000)))
  const quiet = await kit.tcp(() => undefined)
  await kit.allow({ host: kit.name('big.test'), ports: [port] })
  await kit.allow({ host: kit.name('quiet.test'), ports: [quiet], opaque: true })
  const door = await kit.egress.open({ agent: 'ci' }, { bytes: 500_000, idleMs: 600 })
  const still = await tunnel(door, `quiet.test:${quiet}`)
  if (typeof still === 'number') throw new Error('refused')
  const ended = new Promise((resolve) => still.once('close', resolve))
  still.resume()
  await ended
  expect((await get(door, `http://big.test:${port}/`)).status).toBe(200)
  await get(door, `http://big.test:${port}/`)
  await vi.waitFor(async () => expect((await get(door, `http://big.test:${port}/`)).status).toBe(403), {
    timeout: 5_000,
  })
  await vi.waitFor(() =>
    expect(kit.entries.map(({ reason }) => reason)).toEqual(expect.arrayContaining(['idle', 'bytes'])),
  )
  await door.close()
})

test('a proxy that is killed comes back: same sockets, same authority, rules of now', async () => {
  const port = await kit.http((_request, response) => response.end('back'))
  const door = await kit.egress.open({ agent: 'ci', sandbox: 'kept' })
  const { restarts } = kit.egress.state()
  process.kill(kit.proxyPid(), 'SIGKILL')
  await vi.waitFor(() => expect(kit.egress.state().running).toBe(false))
  await kit.allow({ host: kit.name('back.test'), ports: [port] })
  await vi.waitFor(async () => expect((await get(door, `http://back.test:${port}/`)).text).toContain('back'), {
    timeout: 15_000,
    interval: 100,
  })
  expect(kit.egress.state().restarts).toBe(restarts + 1)
  const again = await kit.egress.open({ agent: 'ci', sandbox: 'kept' })
  expect(again.placeholders).toEqual(door.placeholders)
  await again.close()
  await door.close()
})
