import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { keepPorts, withKeptPorts } from './kept-ports.ts'

const ANY = '/ip4/127.0.0.1/tcp/0'
let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mh-ports-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

test('the port of the last time is used again, unless it is taken', async () => {
  const file = join(folder, 'ports.json')
  expect(await withKeptPorts([ANY], file)).toEqual([ANY])
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  await keepPorts([ANY], [`/ip4/127.0.0.1/tcp/${port}/p2p/x`], file)
  expect(await withKeptPorts([ANY], file)).toEqual([ANY])
  await new Promise((resolve) => server.close(resolve))
  expect(await withKeptPorts([ANY], file)).toEqual([`/ip4/127.0.0.1/tcp/${port}`])
})

test('fixed ports are left alone, and a damaged file counts as none', async () => {
  const file = join(folder, 'damaged.json')
  await writeFile(file, '{"nonsense')
  expect(await withKeptPorts([ANY, '/ip4/0.0.0.0/tcp/4001'], file)).toEqual([ANY, '/ip4/0.0.0.0/tcp/4001'])
})
