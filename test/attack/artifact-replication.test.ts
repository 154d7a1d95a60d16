/** What hostile nodes and bad objects must not do to replication. */
import { createHash, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { gitObject, type GitObject } from '../../daemon/artifacts/store/git-object.ts'
import { makePack } from '../../daemon/artifacts/store/pack-file.ts'
import { gitOutput } from '../../daemon/artifacts/store/git-process.ts'
import { DELIMITER, FLUSH, packet, PacketReader } from '../../protocol/artifact/pkt-line.ts'
import { fetchArtifact } from '../../daemon/artifacts/replicate/ask-fetch.ts'
import { fetchRequest } from '../../daemon/artifacts/replicate/fetch-request.ts'
import { readRecords, recordPackets } from '../../daemon/artifacts/replicate/record-stream.ts'
import { Transfers } from '../../daemon/artifacts/replicate/transfers.ts'
import type { ByteStream, MeshNet } from '../../daemon/net/mesh-net.ts'
import { artifactId } from '../../protocol/artifact/genesis.ts'
import type { Heads } from '../../protocol/artifact/heads.ts'
import { sealHolding } from '../../protocol/artifact/holding.ts'
import { type ArtifactRecord, sealRecord } from '../../protocol/artifact/record.ts'
import { ARTIFACT_METHODS, encodeMessage, GIT_STREAM } from '../../protocol/artifact/replication-messages.ts'
import { MeshError } from '../../protocol/errors.ts'
import { settingsSchema } from '../../protocol/artifact/settings.ts'
import { type Signer, signerFromSeed } from '../../protocol/signing/signing.ts'
import { ArtifactMesh } from '../support/artifact-mesh.ts'
import { type ArtifactNode, commitFile, eventually } from '../support/artifact-node.ts'
import { overlaid } from '../support/overlaid.ts'

const MAIN = 'refs/heads/main'
let mesh: ArtifactMesh
let a: ArtifactNode

/** A member that speaks the protocol by hand. */
interface Rogue {
  readonly signer: Signer
  readonly net: MeshNet
}

async function rogue(): Promise<Rogue> {
  const seed = new Uint8Array(32).fill(200)
  const signer = signerFromSeed(seed)
  const net = mesh.network.join({ self: signer.nodeId, gate: { admits: () => true, serves: () => true } })
  net.on((event) => event.type === 'peer-up' && net.setReady(event.peer))
  await net.connect(a.id, a.net.addresses())
  return { signer, net }
}

/** An artifact of the rogue's own, valid as far as records go. */
function artifactOf(signer: Signer, refs: Record<string, string>) {
  const genesis = { v: 1, owner: signer.nodeId, nonce: '0'.repeat(32), defaultBranch: 'main', createdAt: 1 } as const
  const artifact = artifactId(genesis)
  const moves = Object.entries(refs).map(([ref, oid]) => ({ ref, old: null, new: oid }))
  const record: ArtifactRecord = {
    ...{ v: 1, artifact, genesis, writer: signer.nodeId, sequence: 1, previous: null, epoch: 0, refs, moves, by: {} },
    settings: settingsSchema.parse({ name: 'bait' }),
    at: 1,
  }
  const sealed = sealRecord(signer, record)
  const heads: Heads = new Map([[signer.nodeId, { sequence: 1, digest: sealed.digest }]])
  return { artifact, sealed, heads }
}

/** Answers searches with a holding, and fetches with records and then whatever `send` writes. */
function serve(
  { signer, net }: Rogue,
  { artifact, heads }: { artifact: string; heads: Heads },
  texts: readonly string[],
  send: (stream: ByteStream) => Promise<void> = async () => {},
): void {
  const holding = sealHolding(signer, { artifact, heads, placed: false, at: 1 })
  net.handle(ARTIFACT_METHODS.find, () => encodeMessage({ holding, holders: [] }))
  net.handle(ARTIFACT_METHODS.holding, () => encodeMessage({ unknown: [] }))
  net.handle(ARTIFACT_METHODS.check, () => encodeMessage({ differ: [], absent: [] }))
  net.handleStream(GIT_STREAM, (stream) => {
    const work = async (): Promise<void> => {
      for (const text of texts) await stream.write(recordPackets(text))
      await stream.write(FLUSH)
      await send(stream)
      await stream.end()
    }
    work().catch(() => undefined)
  })
}

function packOf(objects: readonly GitObject[]): Uint8Array {
  const packed = Buffer.from(makePack(objects).bytes)
  return packed
}

async function sendPack(stream: ByteStream, pack: Uint8Array): Promise<void> {
  await stream.write(packet('packfile\n'))
  for (let at = 0; at < pack.length; at += 60_000) {
    await stream.write(packet(Buffer.concat([Buffer.of(1), pack.subarray(at, at + 60_000)])))
  }
  await stream.write(FLUSH)
}

const commitOf = (tree: string, more = '') =>
  gitObject('commit', Buffer.from(`tree ${tree}\nauthor a <a> 1 +0000\ncommitter a <a> 1 +0000\n${more}\nx\n`))
const rawTree = (mode: string, name: string, oid: string) =>
  gitObject('tree', Buffer.concat([Buffer.from(`${mode} ${name}\0`), Buffer.from(oid, 'hex')]))

const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => 'no error',
    (error: unknown) => (error instanceof MeshError ? error.code : String(error)),
  )
const blob = gitObject('blob', Buffer.from('x'))

beforeEach(async () => {
  mesh = await ArtifactMesh.start('memory', 1, { times: { pauseMs: 30, maxPauseMs: 100, graceMs: 300 }, idleMs: 400 })
  const [first] = mesh.nodes
  if (first === undefined) throw new Error('no node')
  a = first
})
afterEach(async () => {
  vi.useRealTimers()
  await mesh.close()
})

describe('a link that breaks, and work that takes long', () => {
  const tree = rawTree('100644', 'file', blob.oid)
  const commit = commitOf(tree.oid)

  const idleMs = 1_000

  /** What a good peer has. */
  async function offered() {
    const peer = await rogue()
    const bait = artifactOf(peer.signer, { [MAIN]: commit.oid })
    serve(peer, bait, [bait.sealed.text], (stream) => sendPack(stream, packOf([blob, tree, commit])))
    return { peer: peer.net.self, artifact: bait.artifact, theirs: bait.heads }
  }

  test('F22 what has come whole is taken, though the link broke right after it', async () => {
    const broken: Pick<ByteStream, 'end'> = { end: () => Promise.reject(new MeshError('E_UNREACHABLE', 'It broke')) }
    const openStream: MeshNet['openStream'] = async (...of) =>
      overlaid<ByteStream>(await a.net.openStream(...of), broken)
    const net = overlaid<MeshNet>(a.net, { openStream })
    const options = { net, store: a.store, isMember: () => true, transfers: new Transfers(), idleMs }
    expect(await fetchArtifact(await offered(), options)).toMatchObject({ taken: 1 })
  })

  test("a node's own work on what came whole is not taken for silence of the peer", async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
    const adopt: ArtifactNode['store']['adopt'] = (...of) => {
      vi.advanceTimersByTime(5 * idleMs)
      return a.store.adopt(...of)
    }
    const store = overlaid(a.store, { adopt })
    const options = { net: a.net, store, isMember: () => true, transfers: new Transfers(), idleMs }
    expect(await fetchArtifact(await offered(), options)).toMatchObject({ taken: 1 })
  })
})

test('F22 a Git that is ended in the middle of a pack is not the fault of the peer', async () => {
  const tree = rawTree('100644', 'file', blob.oid)
  const commit = commitOf(tree.oid)
  const peer = await rogue()
  const bait = artifactOf(peer.signer, { [MAIN]: commit.oid })
  const pack = packOf([gitObject('blob', randomBytes(1 << 20)), blob, tree, commit])
  serve(peer, bait, [bait.sealed.text], async (stream) => {
    await eventually('Git waits for it', () => gitsIn('staging').length > 0)
    for (const pid of gitsIn('staging')) process.kill(pid, 'SIGKILL')
    await sendPack(stream, pack)
  })
  await expect(a.replication.clone(bait.artifact)).rejects.toMatchObject({ code: 'E_OVERLOADED' })
  expect(a.store.get(bait.artifact)).toBeUndefined()
})

/** Processes that this one started for a folder. */
function gitsIn(folder: string): number[] {
  const children = readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').match(/\d+/g) ?? []
  return children.map(Number).filter((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(`/${folder}/`))
}

describe('objects from a hostile node', () => {
  const good = rawTree('100644', 'file', blob.oid)
  const evilTrees = ['.git', '.GIT', 'git~1', '..', 'a/b', '.git\u200c'].map((name) =>
    rawTree('100644', name, blob.oid),
  )
  const cases: [string, GitObject[], string][] = [
    ...evilTrees.map((tree, index): [string, GitObject[], string] => {
      const commit = commitOf(tree.oid)
      return [`GIT-07 an evil name in a tree (${index})`, [blob, tree, commit], commit.oid]
    }),
    ['GIT-11 missing objects', [good, commitOf(good.oid)], commitOf(good.oid).oid],
    [
      'GIT-11 a parent that is not there',
      [blob, good, commitOf(good.oid, '')],
      commitOf(good.oid, `parent ${'1'.repeat(40)}`).oid,
    ],
    ['GIT-12 a tip that the pack lacks', [blob], '2'.repeat(40)],
  ]

  test.each(cases)('%s: nothing is taken', async (_what, objects, tip) => {
    const peer = await rogue()
    const bait = artifactOf(peer.signer, { [MAIN]: tip })
    serve(peer, bait, [bait.sealed.text], (stream) => sendPack(stream, packOf(objects)))
    await expect(a.replication.clone(bait.artifact)).rejects.toMatchObject({ code: 'E_PROTOCOL' })
    expect(a.store.get(bait.artifact)).toBeUndefined()
  })

  test('GIT-12 a corrupt object stays out, and so does a later pack that builds on it', async () => {
    const peer = await rogue()
    const commit = commitOf(good.oid)
    const bait = artifactOf(peer.signer, { [MAIN]: commit.oid })
    const bad = Buffer.from(packOf([blob, good, commit]))
    bad[20] = (bad[20] ?? 0) ^ 0xff
    const trailer = createHash('sha1').update(bad.subarray(0, -20)).digest()
    trailer.copy(bad, bad.length - 20)
    serve(peer, bait, [bait.sealed.text], (stream) => sendPack(stream, bad))
    await expect(a.replication.clone(bait.artifact)).rejects.toMatchObject({ code: 'E_PROTOCOL' })
    serve(peer, bait, [bait.sealed.text], (stream) => sendPack(stream, packOf([good, commit])))
    await expect(a.replication.clone(bait.artifact)).rejects.toMatchObject({ code: 'E_PROTOCOL' })
    serve(peer, bait, [bait.sealed.text], (stream) => sendPack(stream, packOf([blob, good, commit])))
    await a.replication.clone(bait.artifact)
    await gitOutput({
      args: ['fsck', '--full', '--strict'],
      repository: await a.store.repository(bait.artifact),
      foreign: false,
    })
  })

  test.each<[string, (stream: ByteStream) => Promise<void>]>([
    [
      'GIT-11 progress without end',
      async (stream) => {
        await stream.write(packet('packfile\n'))
        for (;;) await stream.write(packet(Buffer.concat([Buffer.of(2), Buffer.alloc(1000, 46)])))
      },
    ],
    ['a stream on which nothing moves', () => new Promise(() => {})],
  ])('%s ends in time', async (_what, send) => {
    const peer = await rogue()
    const bait = artifactOf(peer.signer, { [MAIN]: '3'.repeat(40) })
    serve(peer, bait, [bait.sealed.text], send)
    expect(['E_TIMEOUT', 'E_PROTOCOL']).toContain(await codeOf(a.replication.clone(bait.artifact)))
    expect(a.store.get(bait.artifact)).toBeUndefined()
  })

  test.each([
    ['no packets', Buffer.from('<html>')],
    ['an endless record', Buffer.concat(Array.from({ length: 12 }, () => packet(Buffer.alloc(65_000, 120))))],
    ['an empty record', DELIMITER],
  ])('GIT-11 %s instead of records', async (_what, bytes) => {
    const peer = await rogue()
    const bait = artifactOf(peer.signer, {})
    serve(peer, bait, [])
    peer.net.handleStream(GIT_STREAM, (stream) => void stream.write(bytes).then(() => stream.end()))
    await expect(a.replication.clone(bait.artifact)).rejects.toMatchObject({ code: 'E_PROTOCOL' })
  })
})

describe('records from a hostile node', () => {
  test('GIT-13 records of another artifact, of another signer, and with gaps are refused', async () => {
    const peer = await rogue()
    const bait = artifactOf(peer.signer, {})
    const other = sealRecord(peer.signer, {
      ...artifactOf(peer.signer, {}).sealed.record,
      settings: settingsSchema.parse({ name: 'x' }),
    })
    const { genesis: _genesis, settings: _settings, ...rest } = bait.sealed.record
    const gap = sealRecord(peer.signer, { ...rest, sequence: 3, previous: '4'.repeat(64) })
    const forged = bait.sealed.text.replace(peer.signer.nodeId, a.id)
    await a.store.create({ name: 'mine' })
    const mine = a.store.require('mine').id
    const [foreign = ''] = await a.store.envelopes(mine, a.id)
    for (const texts of [[foreign], [forged], [bait.sealed.text, gap.text], [gap.text]]) {
      serve(peer, bait, texts)
      expect(['E_PROTOCOL', 'E_SIGNATURE']).toContain(await codeOf(a.replication.clone(bait.artifact)))
    }
    expect(other.digest).not.toBe(bait.sealed.digest)
    expect(a.store.get(bait.artifact)).toBeUndefined()
  })

  test('a holding of another node is not believed, nor one that speaks of what the peer may not know', async () => {
    const peer = await rogue()
    const { id } = await a.store.create({ name: 'secret', visibility: 'private' })
    const heads: Heads = new Map([[a.id, { sequence: 9, digest: '5'.repeat(64) }]])
    const own = sealHolding(peer.signer, { artifact: id, heads, placed: false, at: 1 })
    const stranger = sealHolding(signerFromSeed(new Uint8Array(32).fill(7)), {
      artifact: id,
      heads,
      placed: false,
      at: 1,
    })
    const say = (text: string) => peer.net.request(a.id, ARTIFACT_METHODS.holding, encodeMessage({ holdings: [text] }))
    await expect(say(stranger)).rejects.toMatchObject({ code: 'E_PROTOCOL' })
    await say(own)
    expect((await a.replication.status(id)).holders).toHaveLength(1)
  })
})

describe('P2P-17 what is not for everyone', () => {
  async function strangers() {
    const peer = await rogue()
    const heard: string[] = []
    for (const method of Object.values(ARTIFACT_METHODS)) {
      peer.net.handle(method, (body) => {
        heard.push(Buffer.from(body).toString())
        throw new Error('no')
      })
    }
    return { peer, heard }
  }

  test('a private artifact is named to its readers alone, and to others it is like none', async () => {
    const reader = await mesh.add()
    const { peer, heard } = await strangers()
    const replicas = { min: 3, max: 8, mustInclude: [] }
    const { id } = await a.store.create({
      name: 'secret',
      visibility: 'private',
      settings: { readers: [reader.id], replicas },
    })
    await commitFile(a, id, 'hidden')
    await eventually('its reader holds it', () => reader.store.get(id) !== undefined)
    const none = `a${'b'.repeat(32)}`
    const ask = (method: string, body: object) =>
      peer.net.request(a.id, method, encodeMessage(body)).then(
        (bytes) => Buffer.from(bytes).toString(),
        (error: Error) => `${'code' in error ? String(error.code) : ''} ${error.message}`,
      )
    for (const method of [ARTIFACT_METHODS.find, ARTIFACT_METHODS.release]) {
      expect(await ask(method, { artifact: id })).toBe(await ask(method, { artifact: none }))
    }
    const check = (artifact: string) => ask(ARTIFACT_METHODS.check, { items: [[artifact, 'x'.repeat(22)]] })
    expect(await check(id)).toBe(await check(none))
    expect(await fetchRaw(peer, a.id, id)).toBe(await fetchRaw(peer, a.id, none))
    expect(heard.join('\n')).not.toContain(id)
    const named: string[] = []
    for await (const provider of peer.net.findProviders(`artifact/${id}`)) named.push(provider)
    expect(named).toEqual([])
  })

  test('GIT-16 an object that no record names is not served, though it lies there', async () => {
    const { id } = await a.store.create({ name: 'notes' })
    const first = await commitFile(a, id, 'withdrawn')
    const { oid } = await commitFile(a, id, 'kept', 'refs/heads/other')
    await a.store.transact(id, [{ ref: MAIN, old: first.oid, new: null }], { by: {} })
    const peer = await rogue()
    const wants = async (want: string) => {
      const stream = await peer.net.openStream(a.id, GIT_STREAM)
      await stream.write(Buffer.concat([packet(JSON.stringify({ v: 1, artifact: id, have: {} })), FLUSH]))
      const packets = new PacketReader(stream.chunks())
      await readRecords(packets)
      await stream.write(fetchRequest({ wants: [want], haves: [] }))
      const answer = await packets.next()
      return answer?.kind === 'data' ? Buffer.from(answer.payload).toString().trim() : String(answer?.kind)
    }
    expect(await wants(oid)).toBe('packfile')
    expect(await wants(first.oid)).toBe('ERR E_FORBIDDEN')
  })

  test('a fetch is refused when the Git that was started ahead for it is gone before it is asked', async () => {
    const { id } = await a.store.create({ name: 'notes' })
    const { oid } = await commitFile(a, id, randomBytes(2 << 20).toString('hex'))
    const repository = await a.store.repository(id)
    // Read once, records are in memory
    await a.store.envelopes(id, a.id)
    await rm(join(repository, 'HEAD'))
    const peer = await rogue()
    const stream = await peer.net.openStream(a.id, GIT_STREAM)
    await stream.write(Buffer.concat([packet(JSON.stringify({ v: 1, artifact: id, have: {} })), FLUSH]))
    const packets = new PacketReader(stream.chunks())
    await readRecords(packets)
    await sleep(500)
    await stream.write(fetchRequest({ wants: [oid], haves: [] }))
    const answer = await packets.next()
    expect(answer?.kind === 'data' && answer.payload.toString()).toBe('ERR E_INTERNAL')
    await eventually('it is over', () => a.replication.figures().running.serve === 0)
  })

  test('who is no longer a reader hears no more of it', async () => {
    const reader = await mesh.add()
    const { id } = await a.store.create({
      name: 'secret',
      visibility: 'private',
      settings: { readers: [reader.id], replicas: { min: 2, max: 8, mustInclude: [] } },
    })
    await eventually('its reader holds it', () => reader.store.get(id) !== undefined)
    await a.store.update(id, { readers: [] }, {})
    await eventually('it is no holder', async () => (await a.replication.status(id)).holders.length === 1)
    const { sequence } = await commitFile(a, id, 'news')
    await expect(
      a.replication.acknowledged({ artifact: id, writer: a.id, sequence, copies: 1, timeoutMs: 300 }),
    ).rejects.toMatchObject({ code: 'E_TIMEOUT' })
    expect(reader.store.heads(id).get(a.id)?.sequence).toBeLessThan(sequence)
  })

  test('what a node that was put out signs is not taken, and it is served nothing more', async () => {
    const out = await mesh.add()
    const { id } = await a.store.create({
      name: 'notes',
      settings: { delegates: [out.id], replicas: { min: 2, max: 8, mustInclude: [] } },
    })
    const { oid } = await commitFile(a, id, 'before')
    await eventually('it holds it', () => out.store.get(id) !== undefined && out.store.refs(id).get(MAIN) === oid)
    mesh.expelled.add(out.id)
    a.replication.expelled(out.id)
    await commitFile(out, id, 'after')
    await expect(fetchRaw({ signer: out.signer, net: out.net }, a.id, id)).resolves.toContain('E_NOT_FOUND')
    await eventually('it is no holder', async () => (await a.replication.status(id)).holders.length === 1)
    expect(a.store.refs(id).get(MAIN)).toBe(oid)
    expect(a.store.heads(id).has(out.id)).toBe(false)
  })
})

/** The first packet of the answer to a fetch. */
async function fetchRaw({ net }: Rogue, peer: string, artifact: string): Promise<string> {
  const stream = await net.openStream(peer, GIT_STREAM)
  await stream.write(Buffer.concat([packet(JSON.stringify({ v: 1, artifact, have: {} })), FLUSH]))
  const pkt = await new PacketReader(stream.chunks()).next()
  return pkt?.kind === 'data' ? Buffer.from(pkt.payload).toString() : String(pkt?.kind)
}
