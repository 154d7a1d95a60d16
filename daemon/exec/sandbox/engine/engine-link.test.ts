/** The link to an engine of this file's own, which answers pings as it is told. */
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { EngineLink } from './engine-link.ts'

/** Long enough for an engine in this process, short enough for a test */
const PING_MS = 200

let folder: string
let server: Server
let link: EngineLink
/** Pings from now on that get no answer */
let silent = 0
let pings = 0
let lost = 0
const events = new Set<ServerResponse>()

beforeEach(async () => {
  ;[silent, pings, lost] = [0, 0, 0]
  folder = mkdtempSync(join(tmpdir(), 'mh-link-'))
  server = createServer((request, response) => {
    if (request.url?.includes('/events')) {
      events.add(response)
      response.writeHead(200).flushHeaders()
    } else if (request.url?.includes('/_ping')) {
      pings += 1
      if (silent === 0) response.end('OK')
      else silent -= 1
    } else response.writeHead(200, { 'content-type': 'application/json' }).end('{}')
  })
  const path = join(folder, 'engine.sock')
  await once(server.listen(path), 'listening')
  link = new EngineLink({
    ...{ configured: `unix://${path}`, env: {}, uid: 0, home: folder },
    ...{ leastGrade: 'jailed', loopWorkspaces: false, label: 'l', pingMs: PING_MS },
    onUp: async () => undefined,
    onLost: () => void (lost += 1),
    onEvent: () => undefined,
  })
  await link.start()
  await expect.poll(() => events.size).toBe(1)
})
afterEach(async () => {
  await link.close()
  events.clear()
  server.closeAllConnections()
  server.close()
  rmSync(folder, { recursive: true })
})

it('an engine that is late once, or a few times, is not lost with all that runs on it', async () => {
  silent = 3
  const before = pings
  link.suspect()
  link.suspect()
  await expect.poll(() => pings - before, { timeout: 5_000 }).toBe(4)
  expect([lost, link.info() === undefined]).toEqual([0, false])
})

it('an engine that hangs is lost', async () => {
  silent = Number.POSITIVE_INFINITY
  link.suspect()
  await expect.poll(() => lost, { timeout: 5_000 }).toBe(1)
  expect(link.info()).toBeUndefined()
})

it('an engine that is gone is lost at once, by the end of its events', async () => {
  for (const response of events) response.destroy()
  await expect.poll(() => lost, { timeout: 5_000 }).toBe(1)
})
