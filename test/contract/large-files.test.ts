/** Large files (Git LFS) are wherever the commits are that name them: real stores and real Git, over both networks. */
import { createHash, randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, test } from 'vitest'
import { Content } from '../../daemon/artifacts/content/content.ts'
import { askFiles } from '../../daemon/artifacts/large-files/ask-files.ts'
import { encodeCommit, encodeTree, gitObject } from '../../daemon/artifacts/store/git-object.ts'
import type { ByteStream } from '../../daemon/net/mesh-net.ts'
import { FILES_METHOD, FILES_STREAM, filesHeader, fileWanted } from '../../protocol/artifact/file-messages.ts'
import { FLUSH, packet, PacketReader } from '../../protocol/artifact/pkt-line.ts'
import { ARTIFACT_METHODS, encodeMessage } from '../../protocol/artifact/replication-messages.ts'
import { ArtifactMesh, type Wire } from '../support/artifact-mesh.ts'
import { type ArtifactNode, commitFile, eventually } from '../support/artifact-node.ts'

const TIMES = { graceMs: 400, pauseMs: 50, maxPauseMs: 400 }
let mesh: ArtifactMesh
afterEach(async () => mesh.close())

async function meshOf(wire: Wire, count: number): Promise<[ArtifactNode, ArtifactNode, ArtifactNode]> {
  mesh = await ArtifactMesh.start(wire, count, { times: TIMES, checkMs: 300 })
  const [a, b = a, c = b] = mesh.nodes
  if (!a || !b || !c) throw new Error('no nodes')
  return [a, b, c]
}

interface Large {
  readonly oid: string
  readonly bytes: Buffer
  readonly pointer: string
}

function large(size: number): Large {
  const bytes = randomBytes(size)
  const oid = createHash('sha256').update(bytes).digest('hex')
  return { oid, bytes, pointer: `version https://git-lfs.github.com/spec/v1\noid sha256:${oid}\nsize ${size}\n` }
}

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield await Promise.resolve(bytes)
}

const upload = ({ files }: ArtifactNode, id: string, { oid, bytes }: Large) =>
  files.put(id, oid, bytes.length, once(bytes))

async function contentOf({ files }: ArtifactNode, id: string, oid: string): Promise<Buffer> {
  const parts: Buffer[] = []
  for await (const chunk of (await files.read(id, oid)).chunks) parts.push(Buffer.from(chunk))
  return Buffer.concat(parts)
}

const has = (id: string, { oid }: Large, ...nodes: ArtifactNode[]) =>
  eventually('all have the file', () => nodes.every(({ files }) => files.size(id, oid) !== undefined))
const copies = (min: number) => ({ replicas: { min, max: 8, mustInclude: [] } })
const pathOf = async ({ store }: ArtifactNode, id: string, oid: string) =>
  join(await store.repository(id), 'lfs', oid.slice(0, 2), oid)

describe.each<Wire>(['memory', 'libp2p'])('over %s', (wire) => {
  test('a file follows its commit to every holder, and to a later one after the first is gone', async () => {
    const [a, b, c] = await meshOf(wire, 3)
    const { id } = await a.store.create({ name: 'notes', settings: copies(2) })
    const file = large(3 << 20)
    await upload(a, id, file)
    await commitFile(a, id, file.pointer)
    const holder = () => [b, c].find(({ store }) => store.get(id) !== undefined)
    await eventually('there is a copy', () => holder() !== undefined)
    const second = holder() ?? b
    await has(id, file, second)
    await eventually('it is told', async () => (await a.replication.status(id)).state === 'healthy')
    await mesh.down(a)
    const third = second === b ? c : b
    await third.replication.clone(id)
    await has(id, file, third)
    expect((await contentOf(third, id, file.oid)).equals(file.bytes)).toBe(true)
  })
})

test('a commit may come before its file; until then holders say what they lack, also after a restart', async () => {
  const [a, b] = await meshOf('memory', 2)
  const { id } = await a.store.create({ name: 'notes', settings: copies(2) })
  const [first, later] = [large(1000), large(2000)]
  await upload(a, id, first)
  await commitFile(a, id, first.pointer)
  await has(id, first, b)
  await commitFile(a, id, later.pointer)
  await eventually('both lack it', () => [a, b].every((node) => node.large.lacks(id) === 1))
  await eventually('and say so', async () => {
    const { state, holders } = await a.replication.status(id)
    return state === 'catching-up' && holders.every(({ lacks, current }) => lacks === 1 && !current)
  })
  await mesh.crash(b)
  const again = await mesh.again(b)
  await eventually('it knows', () => again.large.lacks(id) === 1)
  await upload(a, id, later)
  await has(id, later, again)
  await eventually('nothing is lacking', async () => (await a.replication.status(id)).state === 'healthy')
})

/** An artifact with one large file, which both nodes have. */
async function heldByTwo(bytes: number) {
  const [a, b] = await meshOf('memory', 2)
  const { id } = await a.store.create({ name: 'notes', settings: copies(2) })
  const file = large(bytes)
  await upload(a, id, file)
  await commitFile(a, id, file.pointer)
  await has(id, file, b)
  return { a, b, id, file }
}

test('F22 F23 a file that is damaged or gone here is fetched again from another holder', async () => {
  const { a, id, file } = await heldByTwo(100_000)
  writeFileSync(await pathOf(a, id, file.oid), Buffer.concat([file.bytes.subarray(1), Buffer.of(7)]))
  await expect(contentOf(a, id, file.oid)).rejects.toMatchObject({ code: 'E_STORAGE' })
  await has(id, file, a)
  expect((await contentOf(a, id, file.oid)).equals(file.bytes)).toBe(true)
})

/** From now on the node answers no request for large files. @returns settles when one has come */
function silence({ net }: ArtifactNode): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  net.handleStream(FILES_STREAM, () => resolve())
  return promise
}

test('a copy that has files is not given up to a node that is still fetching them', async () => {
  const [a, b] = await meshOf('memory', 2)
  const { id } = await a.store.create({ name: 'notes', settings: { ...copies(2), delegates: [b.id] } })
  await commitFile(a, id, 'base')
  await eventually('it holds it', () => b.store.get(id) !== undefined)
  const file = large(50_000)
  await upload(b, id, file)
  const asked = silence(b)
  await commitFile(b, id, file.pointer)
  await asked
  expect(a.large.lacks(id)).toBe(1)
  const { heard } = b.replication.figures()
  await a.replication.restate(id)
  await eventually('it is told', () => b.replication.figures().heard > heard)
  const release = a.net.request(b.id, ARTIFACT_METHODS.release, encodeMessage({ artifact: id }))
  await expect(release).rejects.toThrow('it holds what the asker lacks')
})

test('F22 a file found damaged is lacking at once, before anything else is done for it', async () => {
  const { a, b, id, file } = await heldByTwo(1_000)
  await eventually('it is told', async () => (await a.replication.status(id)).state === 'healthy')
  const asked = silence(b)
  writeFileSync(await pathOf(a, id, file.oid), 'damaged')
  await expect(contentOf(a, id, file.oid)).rejects.toMatchObject({ code: 'E_STORAGE' })
  expect(a.large.lacks(id)).toBe(1)
  await asked
  expect(a.large.lacks(id)).toBe(1)
  await eventually('others know', async () => (await b.replication.status(id)).holders.some(({ lacks }) => lacks === 1))
})

test.each(['by itself', 'after a crash'])('a search for files that failed is made again %s', async (how) => {
  const [a] = await meshOf('memory', 1)
  const { id } = await a.store.create({ name: 'notes' })
  const [first, later] = [large(1_000), large(2_000)]
  await upload(a, id, first)
  await commitFile(a, id, first.pointer)
  await eventually('it is known', () => a.large.lacks(id) === 0)
  const head = join(await a.store.repository(id), 'HEAD')
  const sound = readFileSync(head)
  writeFileSync(head, 'Git reads no repository with this')
  await commitFile(a, id, later.pointer)
  await eventually('it failed', () => a.notes.some(({ what }) => what === 'large files'))
  expect([a.large.lacks(id), await a.files.list(id, 'wanted')]).toEqual([1, []])
  if (how === 'after a crash') await mesh.crash(a)
  writeFileSync(head, sound)
  const now = how === 'after a crash' ? await mesh.again(a) : a
  const wanted = [{ oid: later.oid, size: 2_000 }]
  await eventually('it is found', async () => (await now.files.list(id, 'wanted')).length > 0)
  expect([await now.files.list(id, 'wanted'), now.large.lacks(id)]).toEqual([wanted, 1])
})

test('a collection forgets nothing that a push names while it runs', async () => {
  const [a] = await meshOf('memory', 1)
  const { id } = await a.store.create({ name: 'notes' })
  const [first, later] = [large(1_000), large(2_000)]
  await upload(a, id, first)
  await commitFile(a, id, first.pointer)
  await eventually('it is known', () => a.large.lacks(id) === 0)
  const { promise: listed, resolve: list } = Promise.withResolvers<void>()
  const { promise: pushed, resolve: push } = Promise.withResolvers<void>()
  const sweep = a.files.sweep.bind(a.files)
  a.files.sweep = async (...given) => {
    list()
    await pushed
    await sweep(...given)
  }
  const collecting = a.store.collect(id)
  await listed
  await commitFile(a, id, later.pointer)
  // Were the push searched now, the collection would take what it finds
  await sleep(500)
  expect(a.large.lacks(id)).toBe(1)
  push()
  await collecting
  await eventually('it is wanted', async () => (await a.files.list(id, 'wanted'))[0]?.oid === later.oid)
})

test('what a writer who is not the owner adds comes to the owner, after a partition too', async () => {
  const [a, b] = await meshOf('memory', 2)
  const { id } = await a.store.create({ name: 'notes', settings: { ...copies(2), delegates: [b.id] } })
  const base = await commitFile(a, id, 'base')
  const isThere = () => b.store.get(id) && b.store.refs(id, { as: null }).get('refs/heads/main') === base.oid
  await eventually('it holds it', () => isThere() === true)
  mesh.network.partition([[a.id], [b.id]])
  const file = large(50_000)
  await upload(b, id, file)
  const { oid } = await commitFile(b, id, file.pointer)
  mesh.network.heal()
  await mesh.connect()
  await has(id, file, a)
  await eventually('the owner follows', () => a.store.refs(id, { as: null }).get('refs/heads/main') === oid)
})

test('GIT-12 a holder that sends other bytes is not believed, and the next one is asked', async () => {
  const [a, b, c] = await meshOf('memory', 3)
  const { id } = await a.store.create({ name: 'notes', settings: copies(3) })
  const file = large(200_000)
  await eventually('both hold it', () => [b, c].every(({ store }) => store.get(id) !== undefined))
  // from now on it lies
  c.net.handleStream(FILES_STREAM, (stream) => {
    void (async () => {
      for await (const _ of stream.chunks()) break
      const size = Buffer.from(JSON.stringify({ size: 200_000 }))
      const lie = Array.from({ length: 4 }, () => packet(Buffer.alloc(50_000)))
      await stream.write(Buffer.concat([packet(size), ...lie, FLUSH]))
      await stream.end()
    })().catch(() => undefined)
  })
  const wanted = [{ oid: file.oid, size: file.bytes.length }]
  const { got, failed } = await askFiles(
    { peer: c.id, artifact: id, wanted },
    { net: b.net, files: b.files, signal: AbortSignal.timeout(10_000) },
  )
  expect([got, failed?.error]).toEqual([0, expect.objectContaining({ code: 'E_SIGNATURE' })])
  expect(readdirSync(join(await b.store.repository(id), 'lfs', 'incoming'))).toEqual([])
  await upload(a, id, file)
  await commitFile(a, id, file.pointer)
  await has(id, file, b)
  expect((await contentOf(b, id, file.oid)).equals(file.bytes)).toBe(true)
})

const breaks = {
  'the link breaks': (stream: ByteStream) => stream.abort(new Error('The link broke')),
  'the sender leaves': (stream: ByteStream) => stream.end(),
  'the sender leaves in the middle of a packet': async (stream: ByteStream) => {
    await stream.write(packet(Buffer.alloc(100)).subarray(0, 50))
    await stream.end()
  },
}

test.each(Object.entries(breaks))(
  'F09 when %s a file goes on from there, and is checked as a whole',
  async (_, end) => {
    const [a, b] = await meshOf('memory', 2)
    const { id } = await b.store.create({ name: 'notes' })
    const file = large(1 << 20)
    const asked: number[] = []
    let isLying = false
    a.net.handleStream(FILES_STREAM, (stream) => {
      void (async () => {
        const packets = new PacketReader(stream.chunks())
        await packets.next()
        const wanted = await packets.next()
        if (wanted?.kind !== 'data') return
        const { from = 0 } = fileWanted.parse(JSON.parse(String(wanted.payload)))
        asked.push(from)
        await stream.write(packet(encodeMessage({ size: file.bytes.length })))
        const rest = isLying ? randomBytes(file.bytes.length - from) : file.bytes.subarray(from)
        for (let at = 0; at < rest.length; at += 50_000) {
          if (at >= 400_000) {
            // Once all of that was read: what is unread goes with the stream
            await eventually('it came', () => incoming() === from + at)
            return end(stream)
          }
          await stream.write(packet(rest.subarray(at, at + 50_000)))
        }
        await stream.write(FLUSH)
        await stream.end()
      })().catch(() => undefined)
    })
    const folder = join(await b.store.repository(id), 'lfs', 'incoming')
    const incoming = (): number =>
      readdirSync(folder).reduce((bytes, name) => bytes + statSync(join(folder, name)).size, 0)
    const wanted = [{ oid: file.oid, size: file.bytes.length }]
    const ask = () =>
      askFiles(
        { peer: a.id, artifact: id, wanted },
        { net: b.net, files: b.files, signal: AbortSignal.timeout(10_000) },
      )
    const room = b.store.room(id)
    for (let tries = 0; tries < 2; tries++)
      expect(await ask()).toMatchObject({ got: 0, failed: { error: { code: 'E_UNREACHABLE' } } })
    expect(room - b.store.room(id)).toBe(800_000)
    isLying = true
    expect(await ask()).toMatchObject({ got: 0, failed: { error: { code: 'E_SIGNATURE' } } })
    expect([incoming(), b.store.room(id)]).toEqual([0, room])
    isLying = false
    for (let tries = 0; tries < 2; tries++) await ask()
    expect(await ask()).toEqual({ got: 1 })
    expect(asked).toEqual([0, 400_000, 800_000, 0, 400_000, 800_000])
    expect((await contentOf(b, id, file.oid)).equals(file.bytes)).toBe(true)
    expect(readdirSync(folder)).toEqual([])
  },
)

test('many files are asked for at once, not one round trip for each', async () => {
  const [a, b] = await meshOf('memory', 2)
  const wanted = Array.from({ length: 150 }, (_, index) => ({ oid: `${index}`.padStart(64, '0'), size: 1 }))
  const names: string[] = []
  b.net.handleStream(FILES_STREAM, (stream) => {
    void (async () => {
      const packets = new PacketReader(stream.chunks())
      await packets.next()
      let answered = 0
      for (let name = await packets.next(); name?.kind === 'data'; name = await packets.next()) {
        names.push(fileWanted.parse(JSON.parse(String(name.payload))).oid)
        // keeps its answers to itself until many were asked for, or all
        if (names.length % 30 > 0 && names.length < wanted.length) continue
        for (; answered < names.length; answered++) await stream.write(packet('ERR E_NOT_FOUND'))
      }
      await stream.end()
    })().catch(() => undefined)
  })
  const order = { peer: b.id, artifact: `a${'b'.repeat(32)}`, wanted }
  const options = { net: a.net, files: a.files, idleMs: 2_000, signal: AbortSignal.timeout(10_000) }
  expect(await askFiles(order, options)).toEqual({ got: 0 })
  expect(names).toEqual(wanted.map(({ oid }) => oid))
})

/** One commit that names so many files which nobody has. */
async function commitPointers({ store }: ArtifactNode, artifact: string, count: number): Promise<void> {
  const blobs = Array.from({ length: count }, () => gitObject('blob', Buffer.from(large(16).pointer)))
  const entries = blobs.map(({ oid }, index) => ({ mode: '100644' as const, name: `${index}`.padStart(6, '0'), oid }))
  const tree = encodeTree(entries)
  const person = { name: 'test', email: 'test@example.invalid', at: 1 }
  const commit = encodeCommit({ tree: tree.oid, parents: [], author: person, committer: person, message: 'many\n' })
  const moves = [{ ref: 'refs/heads/main', old: null, new: commit.oid }]
  await store.transact(artifact, moves, { by: {}, objects: [...blobs, tree, commit], checked: true })
}

test('artifacts that want thousands of files nobody has let others have their turn', async () => {
  const [a, b] = await meshOf('memory', 2)
  const artifact = async (name: string): Promise<string> => {
    const { id } = await a.store.create({ name, settings: copies(2) })
    await upload(a, id, large(10))
    return id
  }
  const busy: string[] = []
  const other = await artifact('other')
  await commitFile(a, other, large(10).pointer)
  await eventually('it is wanted', async () => (await b.files.list(other, 'wanted')).length === 1)
  /** By artifact, the names it asked for */
  const asked = new Map<string, Set<string>>()
  const sizes = (): number[] => busy.flatMap((id) => asked.get(id)?.size ?? [])
  /** What they had asked for when the other had its turn */
  let before: number[] | undefined
  const { promise: gate, resolve: open } = Promise.withResolvers<void>()
  a.net.handleStream(FILES_STREAM, (stream) => {
    void (async () => {
      const packets = new PacketReader(stream.chunks())
      const header = await packets.next()
      const { artifact } = filesHeader.parse(JSON.parse(header?.kind === 'data' ? String(header.payload) : ''))
      const names = asked.get(artifact) ?? new Set()
      asked.set(artifact, names)
      if (artifact === other) before ??= sizes()
      else await gate
      for (let name = await packets.next(); name?.kind === 'data'; name = await packets.next()) {
        names.add(String(name.payload))
        await stream.write(packet('ERR E_NOT_FOUND'))
      }
      await stream.end()
    })().catch(() => undefined)
  })
  for (const name of ['one', 'two', 'three']) busy.push(await artifact(name))
  for (const id of busy) await commitPointers(a, id, 2_000)
  await eventually('all work is for the others', () => sizes().length === busy.length)
  before = undefined
  await a.net.request(b.id, FILES_METHOD, encodeMessage({ artifacts: [other] }))
  open()
  await eventually('it has its turn', () => before !== undefined)
  expect(Math.max(...(before ?? []))).toBeLessThan(2_000)
  await eventually('the others are asked for all', () => Math.min(...sizes()) === 2_000)
})

test('GIT-17 nobody gets a file of an artifact that is not for him, or learns that there is one', async () => {
  const [a, b, c] = await meshOf('memory', 3)
  const settings = { ...copies(1), readers: [b.id] }
  const { id } = await a.store.create({ name: 'secret', visibility: 'private', settings })
  const open = await a.store.create({ name: 'open' })
  const file = large(1000)
  await upload(a, id, file)
  await commitFile(a, id, file.pointer)
  await b.replication.clone(id)
  await has(id, file, b)
  const wanted = [{ oid: file.oid, size: 1000 }]
  const ask = (artifact: string) =>
    askFiles(
      { peer: a.id, artifact, wanted },
      {
        net: c.net,
        files: {
          putFrom: () => Promise.reject(new Error('it came')),
          refusal: () => undefined,
          takePart: () => Promise.resolve(undefined),
          keepPart: () => Promise.resolve(),
        },
        signal: AbortSignal.timeout(10_000),
      },
    )
  for (const artifact of [id, open.id, `a${'b'.repeat(32)}`]) expect(await ask(artifact)).toEqual({ got: 0 })
})

test('large files count for quotas, and give their room back', async () => {
  const [a] = await meshOf('memory', 1)
  const { id } = await a.store.create({ name: 'notes' })
  const before = a.store.usage().bytes
  const room = a.store.room(id)
  const file = large(5_000)
  await upload(a, id, file)
  expect([a.store.usage().bytes - before, room - a.store.room(id), a.store.require(id).bytes]).toEqual([
    5_000,
    5_000,
    expect.any(Number),
  ])
  expect(a.files.refusal(id, a.store.room(id) + 1)).toMatchObject({ code: 'E_TOO_LARGE' })
  await a.store.remove(id, {})
  expect(a.store.usage().bytes).toBeLessThanOrEqual(before)
})

test('a fork has the files its commits name, and a collection keeps them and drops what nothing names', async () => {
  const [a] = await meshOf('memory', 1)
  const { id } = await a.store.create({ name: 'notes' })
  const [kept, other] = [large(3_000), large(4_000)]
  await upload(a, id, kept)
  await upload(a, id, other)
  await commitFile(a, id, kept.pointer)
  await eventually('it is known', () => a.large.lacks(id) === 0)
  const fork = await new Content(a.store).fork(id, { name: 'copy', by: {} })
  await has(fork.id, kept, a)
  expect(a.files.size(fork.id, other.oid)).toBeUndefined()
  await a.store.remove(id, {})
  expect((await contentOf(a, fork.id, kept.oid)).equals(kept.bytes)).toBe(true)
  await upload(a, fork.id, other)
  await a.files.touch(fork.id, other.oid)
  const sizes = await a.store.collect(fork.id)
  expect(a.files.size(fork.id, other.oid)).toBe(4_000)
  utimesSync(await pathOf(a, fork.id, other.oid), 1, 1)
  utimesSync(await pathOf(a, fork.id, kept.oid), 1, 1)
  const after = await a.store.collect(fork.id)
  expect([a.files.size(fork.id, other.oid), a.files.size(fork.id, kept.oid)]).toEqual([undefined, 3_000])
  expect(after.bytesBefore - after.bytesAfter).toBe(4_000)
  expect(sizes.bytesAfter).toBe(after.bytesBefore)
})
