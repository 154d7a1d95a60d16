/** Hostile objects in pushed packs: rows GIT-04 to GIT-09 of the threat model. */
import { createHash } from 'node:crypto'
import { existsSync, lstatSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { deflateSync } from 'node:zlib'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type DoorKit, openDoor } from '../support/git-door.ts'
import {
  type Answer,
  blob,
  commitOf,
  entry,
  entryHead,
  type Made,
  made,
  packOf,
  push,
  pushBody,
  pushObjects,
  tree,
} from '../support/git-pack.ts'

let kit: DoorKit
let count = 0

beforeAll(async () => {
  kit = await openDoor({ limits: { blobBytes: 64 << 20, objects: 20_000, pathDepth: 256, wallMs: 20_000 } })
})
afterEach(() => {
  expect(readdirSync(join(kit.folder, 'artifacts', 'staging'))).toEqual([])
  expect(kit.faults).toEqual([])
})
afterAll(() => kit.close())

async function artifact(): Promise<string> {
  count += 1
  await kit.create(`a${count}`)
  return `a${count}`
}
const tips = (name: string): number => kit.store.refs(kit.store.require(name).id).size

/** @param entries whole pack entries; the commit is added. */
function pushEntries(name: string, tip: Made, entries: readonly Buffer[], claimed?: number): Promise<Answer> {
  return push(
    kit,
    name,
    pushBody([{ ref: 'refs/heads/main', new: tip.oid }], packOf([...entries, entry(tip)], claimed)),
  )
}

describe('GIT-04 zlib bomb', () => {
  it('refuses an object by its size, in little memory', async () => {
    const name = await artifact()
    const before = process.memoryUsage.rss()
    // A thousand times smaller as it comes in
    const size = 200 << 20
    const hash = createHash('sha1').update(`blob ${size}\0`)
    const zeros = Buffer.alloc(size)
    const bomb: Made = { kind: 'blob', content: zeros, oid: hash.update(zeros).digest('hex') }
    const packed = Buffer.concat([entryHead(3, size), deflateSync(zeros, { level: 1 })])
    const held = process.memoryUsage.rss() - before
    const root = tree(['100644', 'zeros', bomb])
    const answer = await pushEntries(name, commitOf(root), [packed, entry(root)])
    expect(answer.text).toMatch(/unpack blob [0-9a-f]{40} has 209715200 bytes, 67108864 are allowed/)
    expect(process.memoryUsage.rss() - before - held).toBeLessThan(50 << 20)
    // One that must be held whole to be parsed ends at the memory a process may use
    const huge = Buffer.concat([entryHead(1, 4 * 1024 ** 3), deflateSync(zeros.subarray(0, 1 << 20))])
    expect((await pushEntries(name, commitOf(root, 'b'), [huge])).text).toMatch(/ng refs\/heads\/main/)
    expect(tips(name)).toBe(0)
    // Within the limits, and so small on the way that its objects would be carried one by one
    const mild = blob(Buffer.alloc(40 << 20))
    const fine = tree(['100644', 'zeros', mild])
    expect((await pushObjects(kit, name, 'refs/heads/main', mild, fine, commitOf(fine))).text).toMatch(
      /ok refs\/heads\/main/,
    )
    expect(kit.store.require(name).bytes).toBeLessThan(256 << 10)
  })
})

describe('GIT-05 tree bomb', () => {
  it('takes a million paths in eight objects for what they are, without walking them', async () => {
    const name = await artifact()
    const file = blob('x')
    const objects: Made[] = [file]
    for (let level = 0, below = file; level < 6; level++) {
      const mode = level === 0 ? '100644' : '40000'
      below = tree(...Array.from({ length: 10 }, (_, i) => [mode, `n${i}`, below] as const))
      objects.push(below)
    }
    const began = performance.now()
    const last = objects.at(-1) ?? file
    expect((await pushObjects(kit, name, 'refs/heads/main', ...objects, commitOf(last))).text).toMatch(
      /ok refs\/heads\/main/,
    )
    expect(performance.now() - began).toBeLessThan(15_000)
    expect(kit.store.require(name).bytes).toBeLessThan(64 << 10)
  })

  it('refuses paths no host could check out', async () => {
    const name = await artifact()
    for (const [depth, folder] of [
      [300, 'd'],
      [5_000, 'd'],
      [60, 'd'.repeat(100)],
    ] as const) {
      const objects: Made[] = [blob('x')]
      for (let level = 0; level < depth; level++)
        objects.push(tree([level === 0 ? '100644' : '40000', folder, objects.at(-1) ?? blob('x')]))
      const tip = commitOf(objects.at(-1) ?? blob('x'))
      const { text } = await pushObjects(kit, name, 'refs/heads/main', ...objects, tip)
      expect(text).toMatch(/ng refs\/heads\/main a path has more than (?:256 parts|4096 bytes)/)
    }
    expect(tips(name)).toBe(0)
  })
})

describe('GIT-06 object and delta storm', () => {
  it('refuses more objects than are allowed before it reads them, and a count that lies', async () => {
    const name = await artifact()
    const many = Array.from({ length: 30 }, (_, i) => entry(blob(String(i))))
    const root = tree(['100644', 'x', blob('0')])
    const tip = commitOf(root)
    expect((await pushEntries(name, tip, [...many, entry(root)], 200_000)).text).toMatch(
      /it holds 200000 objects, 20000 are allowed/,
    )
    expect((await pushEntries(name, tip, [...many, entry(root)], 1_000)).text).toMatch(/ng refs\/heads\/main/)
    expect((await pushEntries(name, tip, [...many, entry(root)], 3)).text).toMatch(/ng refs\/heads\/main/)
    expect(tips(name)).toBe(0)
  })

  it('takes a chain of 4,000 deltas and can still serve it', async () => {
    const name = await artifact()
    const base = 'b'.repeat(100)
    const entries = [entry(blob(base))]
    let text = base
    for (let i = 0; i < 4_000; i++) {
      const next = `${text.slice(0, 90)}${String(i).padStart(10, '0')}`
      // Copy 90 bytes from 0, insert 10 (gitformat-pack, "Deltified representation")
      const delta = Buffer.concat([Buffer.from([100, 100, 0x90, 90, 10]), Buffer.from(next.slice(90))])
      const distance = entries.at(-1)?.length ?? 0
      entries.push(Buffer.concat([entryHead(6, delta.length), offset(distance), deflateSync(delta)]))
      text = next
    }
    const root = tree(['100644', 'x', blob(text)])
    expect((await pushEntries(name, commitOf(root), [...entries, entry(root)])).text).toMatch(/ok refs\/heads\/main/)
    await kit.git('clone', '-q', kit.url(name), join(kit.folder, name))
    expect(await kit.git('-C', join(kit.folder, name), 'show', 'HEAD:x')).toBe(text)
  })
})

describe('GIT-07 evil names', () => {
  it('refuses trees that would write outside a checkout or into .git', async () => {
    const name = await artifact()
    for (const evil of ['.git', '.GIT', 'git~1', '..', '.', 'a/b', '.git\u200c', '.g\u200cit', '']) {
      const root = tree(['100644', evil, blob('x')])
      const { text } = await pushObjects(kit, name, 'refs/heads/main', blob('x'), root, commitOf(root))
      expect([evil, text]).toEqual([evil, expect.stringMatching(/ng refs\/heads\/main Git refuses it: /)])
    }
    const twice = tree(['100644', 'a', blob('x')], ['100644', 'a', blob('x')])
    expect((await pushObjects(kit, name, 'refs/heads/main', blob('x'), twice, commitOf(twice))).text).toMatch(
      /duplicateEntries|contains duplicate/,
    )
    const odd = made('commit', 'tree nonsense\n\nx')
    expect((await pushObjects(kit, name, 'refs/heads/main', odd)).text).toMatch(/ng refs\/heads\/main/)
    expect(tips(name)).toBe(0)
  })

  it('refuses what is incomplete, and a branch that is no commit', async () => {
    const name = await artifact()
    const root = tree(['100644', 'a', blob('never sent')])
    expect((await pushObjects(kit, name, 'refs/heads/main', root, commitOf(root))).text).toMatch(/ng refs\/heads\/main/)
    const child = commitOf(tree(), 'child', ['c'.repeat(40)])
    expect((await pushObjects(kit, name, 'refs/heads/main', tree(), child)).text).toMatch(/ng refs\/heads\/main/)
    const whole = tree(['100644', 'a', blob('a')])
    expect((await pushObjects(kit, name, 'refs/heads/main', blob('a'), whole)).text).toMatch(
      /a branch leads to a commit, not to a tree/,
    )
    expect(tips(name)).toBe(0)
  })
})

describe('GIT-08 submodules', () => {
  it('refuses addresses that are options, and a .gitmodules that is a link', async () => {
    const name = await artifact()
    for (const text of [
      '[submodule "x"]\n\tpath = x\n\turl = -u./x\n',
      '[submodule "../x"]\n\tpath = x\n\turl = https://example.org\n',
      '[submodule "x"]\n\tpath = -x\n\turl = https://example.org\n',
    ]) {
      const root = tree(['100644', '.gitmodules', blob(text)])
      expect((await pushObjects(kit, name, 'refs/heads/main', blob(text), root, commitOf(root))).text).toMatch(
        /ng refs\/heads\/main Git refuses it: .*gitmodules/i,
      )
    }
    const link = tree(['120000', '.gitmodules', blob('elsewhere')])
    expect((await pushObjects(kit, name, 'refs/heads/main', blob('elsewhere'), link, commitOf(link))).text).toMatch(
      /ng refs\/heads\/main/,
    )
    expect(tips(name)).toBe(0)
  })
})

describe('GIT-09 symbolic links', () => {
  it('keeps a link that leads out as an object and never makes it a file', async () => {
    const name = await artifact()
    const target = blob('../../../../../../tmp')
    const root = tree(['120000', 'lnk', target])
    expect((await pushObjects(kit, name, 'refs/heads/main', target, root, commitOf(root))).text).toMatch(
      /ok refs\/heads\/main/,
    )
    const repository = await kit.store.repository(kit.store.require(name).id)
    const files = readdirSync(repository, { recursive: true, encoding: 'utf8' })
    expect(
      files.filter((file) => existsSync(join(repository, file)) && lstatSync(join(repository, file)).isSymbolicLink()),
    ).toEqual([])
    expect(files.some((file) => file.endsWith('lnk'))).toBe(false)
  })
})

/** Distance to the base of a delta: 7 bits a byte, each further one counted from one more. */
function offset(distance: number): Buffer {
  const bytes = [distance & 0x7f]
  for (let rest = distance >> 7; rest > 0; rest >>= 7) {
    rest -= 1
    bytes.unshift(0x80 | (rest & 0x7f))
  }
  return Buffer.from(bytes)
}
