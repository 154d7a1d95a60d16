import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test, vi } from 'vitest'
import { connect } from './connect.ts'

const home = mkdtempSync(join(tmpdir(), 'mh-connect-'))
afterEach(() => {
  vi.unstubAllEnvs()
  rmSync(home, { recursive: true })
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
