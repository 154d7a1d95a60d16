import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { ByteStream, Channel, MeshNet, NetEvent } from '../../daemon/net/mesh-net.ts'
import { MeshError } from '../../protocol/errors.ts'
import { LIMITS } from '../../protocol/limits.ts'
import type { Nets } from '../support/mesh-nets.ts'

const text = (value: string): Uint8Array => new TextEncoder().encode(value)
const utf8 = (value: Uint8Array): string => new TextDecoder().decode(value)
const code = (error: unknown): string => (error instanceof MeshError ? error.code : String(error))
const failure = (promise: Promise<unknown>): Promise<string> => promise.then(() => 'no error', code)

/** What every `MeshNet` keeps, whatever carries it. */
export function meshNetSuite(name: string, makeNets: () => Nets): void {
  describe(`MeshNet over ${name}`, () => {
    let nets: Nets
    let a: MeshNet
    let b: MeshNet

    beforeEach(async () => {
      nets = makeNets()
      a = await nets.make()
      b = await nets.make()
    })
    afterEach(() => nets.closeAll())

    const join = async () => {
      await a.connect(b.self, b.addresses())
      await vi.waitFor(() => expect(b.isConnected(a.self)).toBe(true))
    }

    test('connecting: both sides know, once, and hear of the end', async () => {
      const events: NetEvent[] = []
      b.on((event) => events.push(event))
      await join()
      await a.connect(b.self, b.addresses())
      expect(a.connections()).toMatchObject([{ peer: b.self, direction: 'outbound', ready: true }])
      expect(b.connections()).toMatchObject([{ peer: a.self, direction: 'inbound', ready: true }])
      await a.disconnect(b.self, 'done')
      await vi.waitFor(() => expect(events.map((event) => event.type)).toEqual(['peer-up', 'peer-down']))
      expect(a.isConnected(b.self)).toBe(false)
      expect(await failure(a.request(b.self, 'echo', text('')))).toBe('E_UNREACHABLE')
    })

    test('requests: answered both ways at once, faults keep code, text and retry-after, others show nothing', async () => {
      await join()
      for (const net of [a, b]) {
        net.handle('echo', (body) => body)
        net.handle('late', async (body) => (await sleep(5), body))
        net.handle('typed', () => {
          throw new MeshError('E_OVERLOADED', 'No room', { retryAfterMs: 70 })
        })
        net.handle('bug', async () => {
          throw new Error('/secret/path is broken')
        })
      }
      const many = Array.from({ length: 50 }, (_, index) => [
        a.request(b.self, index % 2 ? 'echo' : 'late', text(`${index}`)),
        b.request(a.self, 'echo', text(`${index}`)),
      ]).flat()
      expect((await Promise.all(many)).map(utf8)).toEqual(
        Array.from({ length: 50 }, (_, index) => [`${index}`, `${index}`]).flat(),
      )
      await expect(a.request(b.self, 'typed', text(''))).rejects.toMatchObject({
        code: 'E_OVERLOADED',
        message: 'No room',
        retryAfterMs: 70,
      })
      await expect(a.request(b.self, 'bug', text(''))).rejects.toSatisfy(
        (error: MeshError) => error.code === 'E_INTERNAL' && !error.message.includes('secret'),
      )
      expect(await failure(a.request(b.self, 'nothing', text('')))).toBe('E_NOT_FOUND')
    })

    test('requests end: at their time, when canceled, when the connection goes; the answerer is told', async () => {
      await join()
      const reasons: string[] = []
      b.handle('hang', (_body, context) => {
        context.signal.addEventListener('abort', () => reasons.push(code(context.signal.reason)))
        return new Promise(() => undefined)
      })
      expect(await failure(a.request(b.self, 'hang', text(''), { timeoutMs: 30 }))).toBe('E_TIMEOUT')
      await vi.waitFor(() => expect(reasons.length).toBe(1))
      const controller = new AbortController()
      const canceled = failure(a.request(b.self, 'hang', text(''), { signal: controller.signal }))
      await sleep(10)
      controller.abort(new MeshError('E_CANCELED', 'Enough'))
      expect(await canceled).toBe('E_CANCELED')
      await vi.waitFor(() => expect(reasons[1]).toBe('E_CANCELED'))
      const lost = failure(a.request(b.self, 'hang', text('')))
      await sleep(10)
      await b.disconnect(a.self, 'gone')
      expect(await lost).toBe('E_UNREACHABLE')
      await vi.waitFor(() => expect(reasons[2]).toBe('E_UNREACHABLE'))
    })

    test('bounds: too large and too many are refused, what is served goes on', async () => {
      await join()
      b.handle('echo', (body) => body)
      b.handle('large', () => new Uint8Array(LIMITS.frameBytes))
      b.handle('hang', () => new Promise(() => undefined))
      expect(await failure(a.request(b.self, 'echo', new Uint8Array(LIMITS.frameBytes)))).toBe('E_TOO_LARGE')
      expect(await failure(a.request(b.self, 'large', text('')))).toBe('E_TOO_LARGE')
      expect((await a.request(b.self, 'echo', new Uint8Array(LIMITS.frameBytes - 100))).length).toBe(
        LIMITS.frameBytes - 100,
      )
      const waiting = Array.from({ length: LIMITS.requestsPerPeer + 1 }, () =>
        failure(a.request(b.self, 'hang', text(''))),
      )
      expect(await Promise.race(waiting)).toBe('E_OVERLOADED')
      await a.disconnect(b.self, 'done')
      expect(new Set(await Promise.all(waiting))).toEqual(new Set(['E_OVERLOADED', 'E_UNREACHABLE']))
    })

    test('before hello only what is meant for it is answered', async () => {
      const c = await nets.make({ ready: false })
      c.handle('hello', () => text('hi'), { beforeReady: true })
      c.handle('work', () => text('done'))
      c.handleChannel('task', () => undefined)
      let streams = 0
      c.handleStream('/manyhands/test/1', () => streams++)
      await a.connect(c.self, c.addresses())
      expect(utf8(await a.request(c.self, 'hello', text('')))).toBe('hi')
      await expect(a.request(c.self, 'work', text(''))).rejects.toMatchObject({
        code: 'E_SYNCING',
        retryAfterMs: expect.any(Number) as number,
      })
      expect(code(await a.openChannel(c.self, 'task', text('')).ended)).toBe('E_SYNCING')
      const stream = await a.openStream(c.self, '/manyhands/test/1').catch(() => undefined)
      expect(await failure(readAll(stream))).toBe('E_UNREACHABLE')
      expect(streams).toBe(0)
      expect(c.connections()[0]?.ready).toBe(false)
      c.setReady(a.self)
      expect(utf8(await a.request(c.self, 'work', text('')))).toBe('done')
      c.setReady(a.self, false)
      expect(await failure(a.request(c.self, 'work', text('')))).toBe('E_SYNCING')
      expect(code(await a.openChannel(c.self, 'task', text('')).ended)).toBe('E_SYNCING')
    })

    test('channels: in order, both ways, orderly end after the last message', async () => {
      await join()
      const got: string[] = []
      b.handleChannel('chat', (channel, opening) => {
        channel.onMessage((message) => {
          got.push(utf8(message))
          channel.send(text(`re ${utf8(message)}`))
        })
        channel.send(opening)
      })
      const channel = a.openChannel(b.self, 'chat', text('open'))
      const back: string[] = []
      channel.onMessage((message) => void back.push(utf8(message)))
      for (let index = 0; index < 200; index++) channel.send(text(`${index}`))
      await vi.waitFor(() => expect(back.length).toBe(201))
      expect(got).toEqual(Array.from({ length: 200 }, (_, index) => `${index}`))
      expect(back).toEqual(['open', ...got.map((message) => `re ${message}`)])
      channel.close()
      expect(await channel.ended).toBe(undefined)
      expect(channel.send(text('late'))).toBe(false)
      const unknown = a.openChannel(b.self, 'nothing', text(''))
      expect(code(await unknown.ended)).toBe('E_NOT_FOUND')
    })

    test('channels: an abort shows its code to the other side, a lost connection is E_UNREACHABLE on both', async () => {
      await join()
      const served: Channel[] = []
      b.handleChannel('task', (channel) => void served.push(channel))
      const first = a.openChannel(b.self, 'task', text(''))
      await vi.waitFor(() => expect(served.length).toBe(1))
      served[0]?.abort(new MeshError('E_STALE_LEASE', 'Another holds it'))
      await expect(first.ended).resolves.toMatchObject({ code: 'E_STALE_LEASE', message: 'Another holds it' })
      const second = a.openChannel(b.self, 'task', text(''))
      await vi.waitFor(() => expect(served.length).toBe(2))
      await a.disconnect(b.self, 'gone')
      expect(code(await second.ended)).toBe('E_UNREACHABLE')
      expect(code(await served[1]?.ended)).toBe('E_UNREACHABLE')
    })

    test('channels: a slow reader stops its own channel and no other, and gets everything', async () => {
      await join()
      const release = Promise.withResolvers<void>()
      let slow = 0
      b.handleChannel('slow', (channel) => {
        channel.onMessage(async (message) => {
          await release.promise
          slow += message.length
        })
      })
      b.handle('echo', (body) => body)
      const channel = a.openChannel(b.self, 'slow', text(''))
      let taken = 0
      channel.onTaken(() => taken++)
      const message = new Uint8Array(100_000)
      let sent = 0
      while (channel.send(message)) sent += message.length
      sent += message.length
      expect(sent).toBeGreaterThan(LIMITS.channelWindowBytes - 2 * message.length)
      expect(sent).toBeLessThan(LIMITS.channelWindowBytes + 2 * message.length)
      expect(await failure(channel.drained(AbortSignal.timeout(20)))).toMatch(/Timeout/)
      expect(utf8(await a.request(b.self, 'echo', text('still here')))).toBe('still here')
      expect(taken).toBe(0)
      release.resolve()
      await channel.drained()
      for (let index = 0; index < 30; index++) if (!channel.send(message)) await channel.drained()
      await vi.waitFor(() => expect(slow).toBe(sent + 30 * message.length))
      expect(taken).toBeGreaterThan(sent / (LIMITS.channelWindowBytes / 4) - 1)
      channel.close()
      expect(await channel.ended).toBe(undefined)
    })

    test('channels: who ignores a full window is stopped at the bound', async () => {
      await join()
      b.handleChannel('stuck', () => undefined)
      const channel = a.openChannel(b.self, 'stuck', text(''))
      const message = new Uint8Array(256 << 10)
      let sent = 0
      let over = false
      void channel.ended.then(() => {
        over = true
      })
      for (; !over && sent < 64; sent++) {
        channel.send(message)
        await turn()
      }
      expect(code(await channel.ended)).toBe('E_OVERLOADED')
      expect(sent * message.length).toBeLessThanOrEqual(7 * LIMITS.channelWindowBytes)
    })

    test('channels: a bound number per peer', async () => {
      await join()
      b.handleChannel('task', () => undefined)
      const channels = Array.from({ length: LIMITS.channelsPerPeer }, () => a.openChannel(b.self, 'task', text('')))
      expect(() => a.openChannel(b.self, 'task', text(''))).toThrow(/too many channels/)
      channels[0]?.close()
      await channels[0]?.ended
      expect(
        code(await Promise.race([a.openChannel(b.self, 'task', text('')).ended, sleep(50).then(() => 'open')])),
      ).toBe('open')
    })

    test('streams: bytes both ways, ends, backpressure, abort', async () => {
      await join()
      const hold = Promise.withResolvers<void>()
      b.handleStream('/manyhands/echo/1', (stream) => void echo(stream))
      b.handleStream('/manyhands/slow/1', (stream) => void hold.promise.then(() => echo(stream)))
      const stream = await a.openStream(b.self, '/manyhands/echo/1')
      expect(stream.peer).toBe(b.self)
      const reading = readAll(stream)
      for (let index = 0; index < 40; index++) await stream.write(new Uint8Array(50_000).fill(index))
      await stream.end()
      const bytes = await reading
      expect(bytes.length).toBe(2_000_000)
      expect(bytes.every((byte, index) => byte === Math.floor(index / 50_000))).toBe(true)
      expect(await failure(stream.write(text('late')))).toBe('E_CONFLICT')

      const slow = await a.openStream(b.self, '/manyhands/slow/1')
      const slowly = readAll(slow)
      let written = 0
      const writing = (async () => {
        for (; written < 40 << 20; written += 1 << 18) await slow.write(new Uint8Array(1 << 18))
        await slow.end()
      })()
      await sleep(150)
      expect(written).toBeLessThan(12 << 20)
      hold.resolve()
      await writing
      expect((await slowly).length).toBe(40 << 20)

      const aborted = await a.openStream(b.self, '/manyhands/echo/1')
      const ended = failure(readAll(aborted))
      aborted.abort(new Error('no more'))
      expect(await ended).toBe('E_UNREACHABLE')
      expect(await failure(a.openStream(b.self, '/manyhands/nothing/1'))).toBe('E_VERSION')
    })

    test('the gate: strangers do not get in, joiners only join, revoking closes at once', async () => {
      const members = new Set([a.self])
      const guests = new Set([b.self])
      const gate = {
        admits: (peer: string) => members.has(peer) || guests.has(peer),
        serves: (peer: string) => members.has(peer),
      }
      const host = await nets.make({ gate })
      const stranger = await nets.make()
      const calls: string[] = []
      host.handle('echo', (body) => (calls.push('echo'), body), { beforeReady: true })
      host.handleStream('/manyhands/join/1', (stream) => void (calls.push('join'), echo(stream)))
      host.handleStream('/manyhands/work/1', () => calls.push('work'))

      expect(await failure(stranger.connect(host.self, host.addresses()))).toBe('E_UNREACHABLE')
      expect(host.connections()).toEqual([])

      await b.connect(host.self, host.addresses()).catch(() => undefined)
      expect(await failure(b.request(host.self, 'echo', text(''), { timeoutMs: 300 }))).not.toBe('no error')
      const joining = await b.openStream(host.self, '/manyhands/join/1')
      await joining.write(text('let me in'))
      await joining.end()
      expect(utf8(await readAll(joining))).toBe('let me in')
      expect(await failure(b.openStream(host.self, '/manyhands/work/1').then(readAll))).not.toBe('no error')
      expect(host.isConnected(b.self)).toBe(false)

      await a.connect(host.self, host.addresses())
      expect(utf8(await a.request(host.self, 'echo', text('served')))).toBe('served')
      expect(calls).toEqual(['join', 'echo'])
      members.clear()
      host.recheck()
      await vi.waitFor(() => expect(a.isConnected(host.self)).toBe(false))
      expect(host.isConnected(a.self)).toBe(false)
      expect(await failure(a.connect(host.self, host.addresses()))).toBe('E_UNREACHABLE')
    })

    test('who is not admitted is not dialed; nobody there is E_UNREACHABLE', async () => {
      const wary = await nets.make({ gate: { admits: () => false, serves: () => false } })
      expect(await failure(wary.connect(b.self, b.addresses()))).toBe('E_NOT_MEMBER')
      const gone = await nets.make()
      const addresses = gone.addresses()
      await gone.close()
      expect(await failure(a.connect(gone.self, addresses))).toBe('E_UNREACHABLE')
      expect(await failure(gone.connect(a.self, a.addresses()))).toBe('E_STOPPING')
    })

    test('kept peers are dialed, and dialed again when lost', async () => {
      a.keep([{ peer: b.self, addresses: b.addresses() }])
      await vi.waitFor(() => expect(a.isConnected(b.self)).toBe(true))
      await vi.waitFor(() => expect(b.isConnected(a.self)).toBe(true))
      await b.disconnect(a.self, 'restarting')
      await vi.waitFor(() => expect(a.isConnected(b.self)).toBe(false))
      await vi.waitFor(() => expect(a.isConnected(b.self)).toBe(true), 5000)
      a.keep([])
      await a.disconnect(b.self, 'done')
      await sleep(500)
      expect(a.isConnected(b.self)).toBe(false)
    })

    test('both dial each other at the same time: requests work from both', async () => {
      a.handle('echo', (body) => body)
      b.handle('echo', (body) => body)
      await Promise.all([a.connect(b.self, b.addresses()), b.connect(a.self, a.addresses())])
      const answers = await Promise.all([a.request(b.self, 'echo', text('1')), b.request(a.self, 'echo', text('2'))])
      expect(answers.map(utf8)).toEqual(['1', '2'])
    })

    test('the round trip is measured', async () => {
      await join()
      await vi.waitFor(() => expect(a.rttMs(b.self)).toBeGreaterThan(0))
      expect(a.rttMs('nobody')).toBe(undefined)
    })

    test('closing ends what is under way, and is safe twice', async () => {
      await join()
      b.handle('hang', () => new Promise(() => undefined))
      const lost = failure(a.request(b.self, 'hang', text('')))
      await a.close()
      await a.close()
      expect(await lost).toBe('E_UNREACHABLE')
      await vi.waitFor(() => expect(b.isConnected(a.self)).toBe(false))
    })
  })
}

async function echo(stream: ByteStream): Promise<void> {
  try {
    for await (const chunk of stream.chunks()) await stream.write(chunk)
    await stream.end()
  } catch {
    // the test ended it
  }
}

async function readAll(stream: ByteStream | undefined): Promise<Uint8Array> {
  if (stream === undefined) throw new MeshError('E_UNREACHABLE', 'There is no stream')
  const parts: Uint8Array[] = []
  for await (const chunk of stream.chunks()) parts.push(chunk)
  return Buffer.concat(parts)
}
