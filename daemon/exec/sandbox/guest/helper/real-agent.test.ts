/** The agent itself, as a child process. */
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, it } from 'vitest'
import { installHelper, newAgentToken } from '../agent-command.ts'
import type { GuestTransport } from '../guest-connection.ts'
import { startChildAgent } from '../testing/child-agent.ts'
import { HelperConnection } from './helper-connection.ts'
import { TO_GUEST } from './wire.ts'

const undo: (() => Promise<void> | void)[] = []
afterEach(async () => {
  for (const one of undo.splice(0).reverse()) await one()
})

/** @param options.under what starts it. @param options.wrap gives what its transport is replaced by */
async function open(
  options: {
    readonly shared?: boolean
    readonly under?: readonly string[]
    wrap?(transport: GuestTransport): GuestTransport
  } = {},
): Promise<HelperConnection> {
  const folder = mkdtempSync(join(tmpdir(), 'mh-agent-'))
  undo.push(() => rmSync(folder, { recursive: true, force: true }))
  const path = await installHelper(folder, process.arch)
  if (path === undefined) throw new Error(`There is no agent for ${process.arch}`)
  const token = newAgentToken()
  const agent = startChildAgent([...(options.under ?? []), path, token])
  undo.push(() => agent.stop())
  const transport = options.wrap?.(agent.transport) ?? agent.transport
  const sharedFolder = options.shared === true ? { sharedFolder: { host: folder, guest: folder } } : {}
  return HelperConnection.open(transport, { token, cwd: '/', ...sharedFolder }, AbortSignal.timeout(10_000))
}

it('a connection is over when the program hung up, also when it was written to after that', async () => {
  const accepted = Promise.withResolvers<Socket>()
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    accepted.resolve(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  undo.push(() => void server.close())
  const address = server.address()
  const connection = await (await open()).dial(typeof address === 'object' && address !== null ? address.port : 0)
  const socket = await accepted.promise
  socket.resetAndDestroy()
  for await (const _ of connection.readable);
  await connection.write(Buffer.from('nobody reads this'))
  connection.end()
  const late = new Promise((resolve) => setTimeout(resolve, 2000, 'still open'))
  expect(await Promise.race([connection.closed, late])).toBeUndefined()
})

it('a removal whose worker is killed is no success', async () => {
  // So small a stack that the worker does not get to the ground
  const box = await open({ under: ['sh', '-c', 'ulimit -s 128; exec "$0" "$@"'] })
  const folder = mkdtempSync(join(tmpdir(), 'mh-deep-'))
  undo.push(() => rmSync(folder, { recursive: true, force: true }))
  mkdirSync(join(folder, ...Array<string>(100).fill('d')), { recursive: true })
  await expect(box.files.remove(folder, { recursive: true })).rejects.toMatchObject({ name: 'MeshError' })
  expect(existsSync(folder)).toBe(true)
})

it('is heard also when it came over the socket and was noticed too late', async () => {
  const stall = (): unknown => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2200)
  const wrap = (transport: GuestTransport): GuestTransport => ({
    ...transport,
    write(...parts) {
      if (parts[0]?.[8] === TO_GUEST.move && parts[0].length < 200) setImmediate(stall)
      return transport.write(...parts)
    },
  })
  const box = await open({ shared: true, wrap })
  const late = new Promise((resolve) => setTimeout(resolve, 2000, 'no answer'))
  expect(await Promise.race([box.ping(), late])).toBeUndefined()
})

it('is lost with its standard streams also when these end while it comes over the socket', async () => {
  let listeners = 0
  const wrap = (transport: GuestTransport): GuestTransport => ({
    ...transport,
    onEnd(listener) {
      listeners += 1
      if (listeners === 2) queueMicrotask(() => listener(new Error('The container is gone')))
      else transport.onEnd(listener)
    },
  })
  await expect(open({ shared: true, wrap })).rejects.toMatchObject({ code: 'E_SANDBOX_LOST' })
})

it('a file is not written to its end when the sandbox is lost and its source has nothing to give', async () => {
  const box = await open()
  const more = Promise.withResolvers<void>()
  const source = async function* () {
    yield Buffer.from('begun')
    await more.promise
  }
  const folder = mkdtempSync(join(tmpdir(), 'mh-file-'))
  undo.push(() => rmSync(folder, { recursive: true, force: true }))
  const written = box.files.write(join(folder, 'file'), source())
  written.catch(() => undefined)
  await box.ping()
  box.close()
  const late = new Promise((resolve) => setTimeout(resolve, 1000, 'still waits'))
  await expect(Promise.race([written, late])).rejects.toMatchObject({ code: 'E_SANDBOX_LOST' })
  more.resolve()
})
