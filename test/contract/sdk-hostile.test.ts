/** What the SDK does when something else, or something hostile, listens in the daemon's place. */
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createHash, createHmac } from 'node:crypto'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { connect, ManyhandsError } from '../../sdk/src/index.ts'
import { startFake } from './sdk-fake.ts'

const TOKEN = 'token-of-the-real-daemon'

/** Answers each request with raw bytes; proves itself by default. */
class Hostile {
  readonly received: string[] = []
  readonly #server: net.Server
  readonly #sockets = new Set<net.Socket>()

  constructor(answer: (path: string, socket: net.Socket) => void, proves = true) {
    this.#server = net.createServer((socket) => {
      this.#sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('data', (bytes) => {
        const text = bytes.toString('latin1')
        this.received.push(text)
        const path = text.split(' ')[1] ?? ''
        const nonce = /nonce=(\w+)/.exec(path)?.[1]
        if (nonce === undefined) return answer(path, socket)
        const key = createHash('sha256')
          .update(proves ? TOKEN : 'another token')
          .digest('hex')
        const proof = createHmac('sha256', key).update(`manyhands-daemon\0${nonce}`).digest('hex')
        socket.write(reply(JSON.stringify({ proof, version: '0.1.0' })))
      })
    })
  }

  listen(path: string): Promise<void> {
    return new Promise((resolve) => this.#server.listen(path, resolve))
  }

  close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    return new Promise((resolve) => this.#server.close(() => resolve()))
  }
}

function reply(body: string, type = 'application/json', status = '200 OK', more = ''): string {
  return `HTTP/1.1 ${status}\r\ncontent-type: ${type}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n${more}\r\n${body}`
}

describe('SDK-07 a hostile daemon', () => {
  let folder: string
  let hostile: Hostile | undefined
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'mh-hostile-'))
  })
  afterEach(async () => {
    await hostile?.close()
    hostile = undefined
    await rm(folder, { recursive: true, force: true })
  })

  const attempt = async (
    answer: (path: string, socket: net.Socket) => void,
    proves = true,
  ): Promise<ManyhandsError> => {
    const socket = join(folder, 's')
    hostile = new Hostile(answer, proves)
    await hostile.listen(socket)
    const error = await connect({ socket, token: TOKEN }).then(
      () => undefined,
      (reason: unknown) => reason,
    )
    expect(error).toBeInstanceOf(ManyhandsError)
    return error as ManyhandsError
  }

  it('API-10 gets nothing when it cannot prove that it holds the token', async () => {
    const error = await attempt(() => undefined, false)
    expect(error.code).toBe('E_UNPROVEN')
    expect(hostile?.received.join()).not.toContain(TOKEN)
    expect(hostile?.received.length).toBe(1)
  })

  it('API-10 gets nothing when it answers the challenge with anything else', async () => {
    for (const body of ['{}', 'null', '{"proof":1,"version":""}', '[[[']) {
      const socket = join(folder, 't')
      const server = net.createServer((peer) => {
        peer.on('error', () => undefined)
        peer.on('data', (bytes) => {
          expect(bytes.toString()).not.toContain(TOKEN)
          peer.end(reply(body))
        })
      })
      await new Promise<void>((resolve) => server.listen(socket, resolve))
      await expect(connect({ socket, token: TOKEN })).rejects.toMatchObject({ code: 'E_PROTOCOL' })
      await new Promise((resolve) => server.close(resolve))
    }
  })

  it('does not follow a redirect, with or without the token', async () => {
    const other = new Hostile(() => undefined)
    await other.listen(join(folder, 'other'))
    const error = await attempt((_, socket) =>
      socket.end(reply('', 'text/html', '307 Temporary Redirect', 'location: http://127.0.0.1:1/\r\n')),
    )
    expect(error).toMatchObject({ code: 'E_PROTOCOL' })
    expect(error.message).toContain('redirect')
    expect(other.received).toEqual([])
    await other.close()
  })

  it.each([
    ['text', reply('<html>', 'text/html')],
    ['no JSON', reply('{"a":')],
    [
      'bytes that are no UTF-8',
      `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n\xff\xfe`,
    ],
    ['another shape', reply('{"id":1}')],
    ['an error without a report', reply('oops', 'text/plain', '500 Internal Server Error')],
    ['a report of another shape', reply('{"code":"no code"}', 'application/problem+json', '400 Bad Request')],
    ['no HTTP', '\0\0\0\0\0garbage\r\n\r\n'],
    ['endless headers', `HTTP/1.1 200 OK\r\n${`x: ${'y'.repeat(1000)}\r\n`.repeat(100)}\r\n`],
    ['a protocol switch unasked', 'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n'],
  ])('ends in a typed error for %s', async (_, bytes) => {
    expect((await attempt((_path, socket) => socket.end(bytes, 'latin1'))).code).toBe('E_PROTOCOL')
  })

  it('stops reading an answer without end', async () => {
    let sent = 0
    const chunk = Buffer.alloc(1 << 20, 0x20)
    const error = await attempt((_, socket) => {
      socket.write('HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n')
      const more = (): void => {
        if (socket.destroyed) return
        sent += chunk.length
        socket.write(`${chunk.length.toString(16)}\r\n`)
        socket.write(chunk)
        socket.write('\r\n', () => setImmediate(more))
      }
      more()
    })
    expect(error.code).toBe('E_TOO_LARGE')
    expect(sent).toBeLessThan(128 << 20)
  })

  it('refuses an answer that announces too much without reading it', async () => {
    const error = await attempt((_, socket) => {
      socket.write(`HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${1e12}\r\n\r\n`)
    })
    expect(error.code).toBe('E_TOO_LARGE')
  })

  it('keeps nothing that JSON smuggles in', async () => {
    await attempt((_, socket) => socket.end(reply('{"__proto__":{"id":"x"},"constructor":{}}')))
    expect(({} as Record<string, unknown>)['id']).toBe(undefined)
  })
})

describe('SDK-07 a hostile duplex', () => {
  it.each([
    ['a frame of 4 GiB', Buffer.from([0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 3])],
    ['a frame without room for its header', Buffer.from([1, 0, 0, 0, 1])],
    ['an unknown type', Buffer.from([5, 0, 0, 0, 1, 0, 0, 0, 99])],
    ['a reply without an id', Buffer.from([6, 0, 0, 0, 1, 0, 0, 0, 5, 0])],
    ['text that is no JSON', Buffer.from([6, 0, 0, 0, 1, 0, 0, 0, 3, 0x7b])],
    ['text that is no UTF-8', Buffer.from([6, 0, 0, 0, 1, 0, 0, 0, 3, 0xff])],
  ])('ends in a typed error for %s', async (_, bytes) => {
    const real = await startFake()
    const path = join(real.home, 'hostile.sock')
    const server = net.createServer((peer) => {
      // Everything but the upgrade is the real daemon's business
      const upstream = net.connect(join(real.home, 'run', 'daemon.sock'))
      peer.on('error', () => undefined)
      upstream.on('error', () => undefined)
      peer.on('close', () => upstream.destroy())
      upstream.on('data', (data) => peer.write(data))
      peer.on('data', (data) => {
        if (!data.includes('/v0/duplex')) return upstream.write(data)
        peer.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: manyhands-duplex-1\r\n\r\n')
        // One byte at a time: frames come in any pieces
        setTimeout(() => {
          for (const byte of bytes) peer.write(Buffer.of(byte))
        }, 20)
        return true
      })
    })
    await new Promise<void>((resolve) => server.listen(path, resolve))
    const mesh = await connect({ socket: path, token: real.token })
    await expect(mesh.session('export default (n) => n')).rejects.toMatchObject({ code: 'E_PROTOCOL' })
    await mesh.close()
    await new Promise((resolve) => server.close(resolve))
    await real.stop()
  })
})

describe('the token file', () => {
  it('is refused when others can read it, and when there is none', async () => {
    const daemon = await startFake()
    const file = join(daemon.home, 'data', 'token')
    await chmod(file, 0o644)
    await expect(connect({ home: daemon.home })).rejects.toMatchObject({ code: 'E_INSECURE_FILE' })
    await chmod(file, 0o600)
    await writeFile(file, 'short')
    await expect(connect({ home: daemon.home })).rejects.toMatchObject({ code: 'E_INSECURE_FILE' })
    await rm(file)
    await expect(connect({ home: daemon.home })).rejects.toMatchObject({ code: 'E_NOT_RUNNING' })
    await daemon.stop()
    await expect(connect({ home: daemon.home, token: 'x'.repeat(20) })).rejects.toMatchObject({ code: 'E_NOT_RUNNING' })
  })

  it('never leaves this host', async () => {
    for (const url of [
      'https://127.0.0.1:1',
      'http://example.com',
      'http://127.0.0.1.example.com',
      'http://0.0.0.0:1',
      'nonsense',
    ]) {
      await expect(connect({ url, token: 'x'.repeat(20) })).rejects.toMatchObject({ code: 'E_BAD_REQUEST' })
    }
  })
})
