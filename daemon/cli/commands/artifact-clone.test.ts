import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { cliContext } from '../../../test/support/cli-context.ts'
import { Interrupted } from '../failure.ts'
import { clone } from './artifact-clone.ts'

const folder = mkdtempSync(join(tmpdir(), 'mh-clone-'))
afterAll(() => rmSync(folder, { recursive: true }))

it('Ctrl-C while git clones is told as what it is, and no token is left behind', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const asked = once(server, 'request')
  const gitUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/git/notes.git`
  const revoked: string[] = []
  const tokens = {
    create: () => Promise.resolve({ id: 'k1', token: 'secret' }),
    revoke: (id: string) => Promise.resolve(void revoked.push(id)),
  }
  const artifact = { view: { gitUrl, name: 'notes', id: 'a' }, tokens }
  const mesh = { artifacts: { fetch: () => Promise.resolve(artifact) } }
  const stop = new AbortController()
  const context = cliContext({ mesh, signal: stop.signal })
  try {
    const told = clone(context, 'notes', join(folder, 'notes'))
    told.catch(() => undefined)
    await asked
    stop.abort(new Interrupted('interrupted'))
    await expect(told).rejects.toBeInstanceOf(Interrupted)
    expect(revoked).toEqual(['k1'])
  } finally {
    server.closeAllConnections()
    server.close()
  }
})
