import { mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe } from 'vitest'
import { helperCommand, installHelper, newAgentToken } from '../../daemon/exec/sandbox/guest/agent-command.ts'
import { connectGuest } from '../../daemon/exec/sandbox/guest/connect.ts'
import type { GuestConnection, GuestTransport } from '../../daemon/exec/sandbox/guest/guest-connection.ts'
import { shellCommand } from '../../daemon/exec/sandbox/guest/shell/program.ts'
import { startChildAgent } from '../../daemon/exec/sandbox/guest/testing/child-agent.ts'
import { findTestEngine } from '../support/docker-engine.ts'
import { startGuestContainer } from '../support/guest-container.ts'
import { guestSuite } from './guest-suite.ts'
import type { GuestUnderTest } from './guest-under-test.ts'

async function echoHere(): Promise<{ port: number; stop(): void }> {
  const server = createServer({ allowHalfOpen: true }, (socket) => void socket.pipe(socket))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('No address')
  return { port: address.port, stop: () => void server.close() }
}

function talkHere(_connection: GuestConnection, port: number, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = []
    const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true })
    socket.on('data', (part) => void parts.push(part))
    socket.on('error', reject)
    socket.on('end', () => resolve(Buffer.concat(parts).toString()))
    socket.end(text)
  })
}

async function talkInside(connection: GuestConnection, port: number, text: string): Promise<string> {
  const client = connection.exec({ argv: ['nc', '127.0.0.1', String(port)], stdin: Buffer.from(text) })
  const parts: Uint8Array[] = []
  for await (const { fd, bytes } of client.output) if (fd === 1) parts.push(bytes)
  return Buffer.concat(parts).toString()
}

/** An agent as a child of this process; `direct`: the helper over a unix socket instead of its standard streams. */
async function childGuest(kind: 'shell' | 'helper' | 'direct'): Promise<GuestUnderTest> {
  const folder = mkdtempSync(join(tmpdir(), 'mh-agent-'))
  const helper = await installHelper(folder, process.arch)
  if (helper === undefined) throw new Error(`There is no helper for ${process.arch}`)
  const token = newAgentToken()
  const agent = startChildAgent(kind === 'shell' ? shellCommand(token) : [helper, ...helperCommand(token).slice(1)])
  const work = mkdtempSync(join(tmpdir(), 'mh-guest-'))
  const shared = kind === 'direct' ? { sharedFolder: { host: folder, guest: folder } } : {}
  const connect = (transport: GuestTransport): Promise<GuestConnection> =>
    connectGuest(transport, { agent: kind === 'shell' ? 'shell' : 'helper', token, cwd: work, ...shared })
  return {
    connection: await connect(agent.transport),
    folder: work,
    again: () => connect(agent.again()),
    echo: echoHere,
    talk: talkHere,
    async stop() {
      await agent.stop()
      for (const path of [folder, work]) rmSync(path, { recursive: true, force: true })
    },
  }
}

guestSuite('the helper as a child process', () => childGuest('helper'))
guestSuite('the helper as a child process, over a socket', () => childGuest('direct'))
guestSuite('the shell as a child process', () => childGuest('shell'))

const found = await findTestEngine()

describe.skipIf(found.engine === undefined)('with an engine', () => {
  afterAll(() => found.engine?.close())
  for (const runtime of found.engine?.runtimes ?? []) {
    guestSuite(`the helper in a container of ${runtime}`, async () => {
      if (found.engine === undefined) throw new Error('No engine')
      const container = await startGuestContainer(found.engine.socket, found.engine.image, runtime)
      return {
        connection: container.connection,
        folder: '/workspace',
        // gVisor's terminals before 2023 pass control characters on
        typedSignals: runtime !== 'runsc',
        again: container.again,
        async echo(connection) {
          const server = connection.exec({ argv: ['nc', '-ll', '-p', '8088', '-e', 'cat'], background: true })
          return { port: 8088, stop: () => server.stop(0) }
        },
        talk: talkInside,
        stop: container.remove,
      }
    })
  }
})
