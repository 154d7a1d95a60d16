/** Secrets stay where they belong: THREATS JRN-11, searched for in everything that a whole run of two daemons leaves behind. */
import { randomBytes } from 'node:crypto'
import { readdir, readFile, stat } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { parseInvite } from '../../protocol/membership/invite.ts'
import { RealMesh, type RealNode } from '../support/real-mesh.ts'

const IdentityFile = z.object({ seed: z.string() })
const MeshFile = z.object({ networkKey: z.string() })

/** Files that hold a secret because that is what they are for */
const OWN = { seed: 'data/identity.key', networkKey: 'data/mesh.json', token: 'data/token' }

const canary = (what: string): string => `canary-${what}-${randomBytes(12).toString('hex')}`
const hostSecret = canary('host')
const errorSecret = canary('refused')
const inputSecret = canary('input')
const outputSecret = canary('output')

let mesh: RealMesh
let alice: RealNode
let bob: RealNode
let invites: string[]

beforeAll(async () => {
  mesh = await RealMesh.start({ name: 'alice', settings: { 'log.level': 'trace' } })
  alice = mesh.nodes[0] as RealNode
  const sdk = await alice.sdk()
  const { invite: used } = await sdk.invite()
  const { invite: open } = await sdk.invite()
  invites = [used, open]
  bob = mesh.node({ name: 'bob', settings: { 'log.level': 'trace' } })
  await bob.join(used)
  await bob.up()
  await mesh.connected()
  await work()
  await Promise.all([alice.down(), bob.down()])
}, 60_000)

afterAll(() => mesh?.close())

/** Everything that carries the canaries, well and badly. */
async function work(): Promise<void> {
  const sdk = await alice.sdk()
  const host = {
    secret: async () => hostSecret,
    refuse: async () => {
      throw new Error(errorSecret)
    },
  }
  const reads = 'export default async (n, env) => (await env.secret()).length'
  const refused = 'export default async (n, env) => { try { await env.refuse() } catch { return "refused" } }'
  for (const on of ['local', 'bob']) {
    expect(await sdk.run(reads, { host, requires: { on } })).toBe(hostSecret.length)
    expect(await sdk.run(refused, { host, requires: { on } })).toBe('refused')
  }
  const echo = `export default (n) => n + ${JSON.stringify(outputSecret)}`
  expect(await sdk.run(echo, { input: inputSecret, requires: { on: 'bob' } })).toBe(inputSecret + outputSecret)
  const session = await sdk.session<string, number>('export default (s) => s.length', { requires: { on: 'bob' } })
  expect(await session.call(hostSecret)).toBe(hostSecret.length)
  await session.close()
  // Turned away, with the secret in hand: an invite that was used.
  expect((await bob.cli('join', invites[0] ?? '')).code).not.toBe(0)
}

async function files(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
}

/** Files of a node that hold any of these byte strings. */
async function filesWith(node: RealNode, needles: readonly Buffer[]): Promise<string[]> {
  const found: string[] = []
  for (const path of await files(node.home)) {
    const bytes = await readFile(path)
    if (needles.some((needle) => bytes.includes(needle))) found.push(relative(node.home, path))
  }
  return found
}

/** The ways a secret of bytes is written down. */
function shapes(secret: Uint8Array): Buffer[] {
  const bytes = Buffer.from(secret)
  const texts = [bytes.toString('hex'), bytes.toString('base64url'), bytes.toString('base64')]
  return [bytes, ...texts.map((text) => Buffer.from(text))]
}

async function secretIn<T>(node: RealNode, path: string, schema: z.ZodType<T>): Promise<T> {
  return schema.parse(JSON.parse(await readFile(join(node.home, path), 'utf8')))
}

test('JRN-11: the search finds what is there: an input is in the journal of the node that answers for it', async () => {
  const hits = await filesWith(alice, [Buffer.from(inputSecret)])
  expect(hits.length).toBeGreaterThan(0)
  expect(hits.every((path) => path.startsWith('data/journal/'))).toBe(true)
})

test('JRN-11: seeds, the network key and tokens are in their own files alone, readable by their owner alone', async () => {
  const nodes = [alice, bob]
  for (const node of nodes) {
    const { seed } = await secretIn(node, OWN.seed, IdentityFile)
    const { networkKey } = await secretIn(node, OWN.networkKey, MeshFile)
    const token = (await readFile(join(node.home, OWN.token), 'utf8')).trim()
    expect(token.length).toBeGreaterThan(20)
    const secrets = {
      seed: shapes(Buffer.from(seed, 'base64url')),
      networkKey: shapes(Buffer.from(networkKey, 'base64url')),
      token: [Buffer.from(token), Buffer.from(token, 'base64url')],
    }
    for (const other of nodes) {
      expect(await filesWith(other, secrets.seed)).toEqual(other === node ? [OWN.seed] : [])
      expect(await filesWith(other, secrets.networkKey)).toEqual([OWN.networkKey])
      expect(await filesWith(other, secrets.token)).toEqual(other === node ? [OWN.token] : [])
    }
    for (const path of Object.values(OWN)) expect((await stat(join(node.home, path))).mode & 0o777).toBe(0o600)
  }
})

test('JRN-11: an invite and its secret, used or open, are in no file', async () => {
  for (const invite of invites) {
    const needles = [Buffer.from(invite), ...shapes(parseInvite(invite).secret)]
    for (const node of [alice, bob]) expect(await filesWith(node, needles)).toEqual([])
  }
})

test('JRN-11: what a host function answered or threw, and what a session was told, is in no file of either node', async () => {
  const needles = [hostSecret, errorSecret].map((text) => Buffer.from(text))
  for (const node of [alice, bob]) expect(await filesWith(node, needles)).toEqual([])
})

test('JRN-11: of work done for another, a node keeps digests and neither input, output nor program', async () => {
  const needles = [inputSecret, outputSecret].map((text) => Buffer.from(text))
  expect(await filesWith(bob, needles)).toEqual([])
})
