/** The SDK over loopback TCP: from Node by `url`, and as a browser has it, by `fetch` alone. */
import net from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { connect as connectBrowser } from '../../sdk/src/browser.ts'
import { connect } from '../../sdk/src/index.ts'
import { type FakeDaemon, startFake } from './sdk-fake.ts'

let daemon: FakeDaemon
let door: net.Server
let url: string
const sockets = new Set<net.Socket>()

beforeAll(async () => {
  daemon = await startFake()
  door = net.createServer((socket) => {
    const upstream = net.connect(join(daemon.home, 'run', 'daemon.sock'))
    for (const one of [socket, upstream]) {
      sockets.add(one)
      one.on('error', () => undefined)
    }
    socket.pipe(upstream).pipe(socket)
    socket.on('close', () => upstream.destroy())
  })
  await new Promise<void>((resolve) => door.listen(0, '127.0.0.1', resolve))
  const address = door.address()
  url = `http://127.0.0.1:${typeof address === 'object' ? (address?.port ?? 0) : 0}`
})
afterAll(async () => {
  for (const socket of sockets) socket.destroy()
  await new Promise((resolve) => door.close(resolve))
  await daemon.stop()
})

describe('connect({ url })', () => {
  it('serves everything, sessions too', async () => {
    const mesh = await connect({ url, token: daemon.token })
    expect(await mesh.run('export default (n) => n + 1', { input: 1 })).toBe(2)
    const session = await mesh.session<number, number>('export default (n) => n * 2')
    expect(await session.call(4)).toBe(8)
    await session.close()
    await mesh.close()
  })

  it('refuses what is no URL with a code, in browsers too', async () => {
    for (const to of [connect, connectBrowser])
      await expect(to({ url: 'localhost', token: daemon.token })).rejects.toMatchObject({ code: 'E_BAD_REQUEST' })
  })

  it('API-10 sends no wrong token anywhere: the proof fails first', async () => {
    await expect(connect({ url, token: 'another-token-entirely' })).rejects.toMatchObject({ code: 'E_UNPROVEN' })
    await expect(connectBrowser({ url, token: 'another-token-entirely' })).rejects.toMatchObject({ code: 'E_UNPROVEN' })
  })
})

describe('in a browser', () => {
  it('runs, maps, watches and listens', async () => {
    const mesh = await connectBrowser({ url, token: daemon.token })
    expect(await mesh.run('export default (n) => n + 1', { input: 1 })).toBe(2)
    expect(await mesh.map('export default (n) => n + 1', [1, 2, 3]).all()).toEqual([2, 3, 4])
    const task = await mesh.run('export default () => 5', { detach: true })
    expect(await mesh.tasks.wait(task.id)).toMatchObject({ output: 5 })
    await mesh.close()
  })

  it('refuses what needs a raw connection or a file', async () => {
    const mesh = await connectBrowser({ url, token: daemon.token })
    for (const attempt of [
      mesh.session('export default () => 1'),
      mesh.run('export default () => 1', { host: { f: () => 1 } }),
      mesh.run(new URL('file:///a.ts')),
    ]) {
      await expect(attempt).rejects.toMatchObject({ code: 'E_BAD_REQUEST' })
    }
    await mesh.close()
  })
})
