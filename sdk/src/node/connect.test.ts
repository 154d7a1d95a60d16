import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { connect } from './connect.ts'
import { runningSocket } from './paths.ts'

let home: string
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'mh-connect-'))
})
afterEach(() => {
  vi.unstubAllEnvs()
  rmSync(home, { recursive: true })
})

test('the socket is where the daemon of this folder says, and else where it would be in this environment', async () => {
  const paths = { socket: '/run/user/0/manyhands/daemon.sock', tokenFile: '', socketFile: join(home, 'socket.json') }
  const elsewhere = join(home, 'daemon.sock')
  const told = async (said: unknown): Promise<string> => {
    writeFileSync(paths.socketFile, typeof said === 'string' ? said : JSON.stringify(said))
    return runningSocket(paths)
  }
  expect(await runningSocket(paths)).toBe(paths.socket)
  expect(await told({ socket: elsewhere, folder: home })).toBe(paths.socket)
  writeFileSync(elsewhere, '')
  expect(await told({ socket: elsewhere, folder: home })).toBe(elsewhere)
  for (const said of [{ socket: elsewhere, folder: '/a/copy' }, { socket: 1, folder: home }, null, '', '{', '[]'])
    expect(await told(said)).toBe(paths.socket)
})

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')

test('variables that are empty count as not set, as a shell or a CI leaves them', async () => {
  const token = 'mht_of_the_token_file_here'
  mkdirSync(join(home, 'run'))
  mkdirSync(join(home, 'data'))
  writeFileSync(join(home, 'data', 'token'), token, { mode: 0o600 })
  const asked: string[] = []
  const server = createServer((request, response) => {
    asked.push(request.url ?? '')
    response.writeHead(503).end()
  }).listen(join(home, 'run', 'daemon.sock'))
  await once(server, 'listening')
  vi.stubEnv('MANYHANDS_HOME', home)
  for (const name of ['SOCKET', 'URL', 'TOKEN', 'TOKEN_FILE']) vi.stubEnv(`MANYHANDS_${name}`, '')
  try {
    await expect(connect()).rejects.toThrow()
    expect(asked[0]).toContain(`token=${sha256(sha256(token)).slice(0, 16)}`)
  } finally {
    server.closeAllConnections()
    server.close()
  }
})
