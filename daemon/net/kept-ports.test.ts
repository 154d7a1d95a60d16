import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
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

test('each address keeps the port that it had itself', async () => {
  const file = join(folder, 'two.json')
  const listen = ['/ip4/127.0.0.1/tcp/0', '/ip4/127.0.0.2/tcp/0', '/ip6/::1/tcp/0']
  const had = ['/ip6/::1/tcp/40003', '/ip4/127.0.0.2/tcp/40002', '/ip4/127.0.0.1/tcp/40001']
  await keepPorts(
    listen,
    had.map((address) => `${address}/p2p/x`),
    file,
  )
  const kept: unknown = JSON.parse(await readFile(file, 'utf8'))
  expect(kept).toEqual({ [listen[0] ?? '']: 40001, [listen[1] ?? '']: 40002, [listen[2] ?? '']: 40003 })
})

test('an address of the host as a whole keeps the port of any of its interfaces but those listened on by name', async () => {
  const file = join(folder, 'any.json')
  const [any, one] = ['/ip4/0.0.0.0/tcp/0', '/ip4/127.0.0.1/tcp/0']
  await keepPorts([any, one], ['/ip4/127.0.0.1/tcp/40001', '/ip4/10.0.0.1/tcp/40002', '/ip4/127.0.0.1/tcp/40002'], file)
  expect(JSON.parse(await readFile(file, 'utf8'))).toEqual({ [any]: 40002, [one]: 40001 })
})
