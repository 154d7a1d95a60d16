import { describe, expect, test } from 'vitest'
import {
  decodeTree,
  EMPTY_TREE,
  encodeTree,
  type GitObject,
  gitObject,
  type ReadTree,
  type TreeMode,
} from '../store/git-object.ts'
import { changeTree, diffTrees, type Leaf, leafAt } from './tree-changes.ts'

const blob = (text: string, mode: TreeMode = '100644'): Leaf => ({
  mode,
  oid: gitObject('blob', Buffer.from(text)).oid,
})

/** A store of trees that counts what is read. */
class Trees {
  readonly #kept = new Map<string, Uint8Array>()
  read = 0
  readonly reader: ReadTree = async (oid) => {
    this.read++
    const found = this.#kept.get(oid)
    if (found === undefined) throw new Error(`no tree ${oid}`)
    return found
  }

  keep(objects: readonly GitObject[]): void {
    for (const { oid, content } of objects) this.#kept.set(oid, content)
  }

  /** Files by path, made by the code under test from nothing. */
  async of(files: Readonly<Record<string, Leaf>>): Promise<string> {
    const { tree, objects } = await changeTree(this.reader, EMPTY_TREE.oid, new Map(Object.entries(files)))
    this.keep(objects)
    return tree
  }
}

describe('changeTree()', () => {
  test('makes the trees that Git would', async () => {
    const trees = new Trees()
    const root = await trees.of({ 'a/b': blob('b'), 'a.txt': blob('t'), a0: blob('0'), run: blob('r', '100755') })
    const folder = encodeTree([{ name: 'b', ...blob('b') }])
    // a folder stands where "a/" would
    const expected = encodeTree([
      { name: 'a.txt', ...blob('t') },
      { mode: '40000', name: 'a', oid: folder.oid },
      { name: 'a0', ...blob('0') },
      { name: 'run', ...blob('r', '100755') },
    ])
    expect(root).toBe(expected.oid)
    expect(decodeTree(await trees.reader(root)).map(({ name }) => name)).toEqual(['a.txt', 'a', 'a0', 'run'])
  })

  test('folders that become empty go, up to the root', async () => {
    const trees = new Trees()
    const root = await trees.of({ 'a/b/c/d': blob('d'), 'a/e': blob('e') })
    const less = await changeTree(trees.reader, root, new Map([['a/b/c/d', undefined]]))
    expect(less.tree).toBe(await trees.of({ 'a/e': blob('e') }))
    trees.keep(less.objects)
    const none = await changeTree(trees.reader, less.tree, new Map([['a/e', undefined]]))
    expect(none).toEqual({ tree: EMPTY_TREE.oid, objects: [EMPTY_TREE] })
  })

  test('a file becomes a folder, and a folder a file', async () => {
    const trees = new Trees()
    const file = await trees.of({ x: blob('x'), y: blob('y') })
    const folder = await trees.of({ 'x/inner': blob('i'), y: blob('y') })
    const opened = await changeTree(
      trees.reader,
      file,
      new Map([
        ['x', undefined],
        ['x/inner', blob('i')],
      ]),
    )
    expect(opened.tree).toBe(folder)
    const closed = await changeTree(
      trees.reader,
      folder,
      new Map([
        ['x/inner', undefined],
        ['x', blob('x')],
      ]),
    )
    expect(closed.tree).toBe(file)
  })

  test('what is not there is removed without a trace, and nothing new is made for no change', async () => {
    const trees = new Trees()
    const root = await trees.of({ a: blob('a'), 'f/g': blob('g') })
    const nothing = new Map([
      ['none', undefined],
      ['none/at/all', undefined],
      ['f', undefined],
      ['a', blob('a')],
    ])
    expect(await changeTree(trees.reader, root, nothing)).toEqual({ tree: root, objects: [] })
  })

  test('reads no folder but those on the way', async () => {
    const trees = new Trees()
    const root = await trees.of({ 'a/x': blob('1'), 'b/x': blob('2'), 'c/d/x': blob('3') })
    trees.read = 0
    await changeTree(trees.reader, root, new Map([['c/d/x', blob('4')]]))
    expect(trees.read).toBe(3)
  })

  test('names that are no text keep their bytes', async () => {
    const trees = new Trees()
    const name = Buffer.from([0x66, 0xff, 0xc3, 0x28]).toString('latin1')
    const root = await trees.of({ [name]: blob('odd'), 'd/é': blob('e') })
    const [, entry] = decodeTree(await trees.reader(root))
    expect(Buffer.from(entry?.name ?? '', 'latin1')).toEqual(Buffer.from([0x66, 0xff, 0xc3, 0x28]))
    expect(await leafAt(trees.reader, root, name)).toEqual(blob('odd'))
  })
})

describe('diffTrees()', () => {
  test('names every path that differs, also below a folder that came or went', async () => {
    const trees = new Trees()
    const old = await trees.of({ same: blob('s'), gone: blob('g'), mode: blob('m'), 'was/deep/x': blob('x') })
    const now = await trees.of({ same: blob('s'), mode: blob('m', '100755'), new: blob('n'), was: blob('file') })
    const changes = await diffTrees(trees.reader, old, now)
    expect(Object.fromEntries(changes.map(({ path, old: from, new: to }) => [path, [from, to]]))).toEqual({
      gone: [blob('g'), undefined],
      mode: [blob('m'), blob('m', '100755')],
      new: [undefined, blob('n')],
      was: [undefined, blob('file')],
      'was/deep/x': [blob('x'), undefined],
    })
    expect((await diffTrees(trees.reader, null, now)).map(({ path }) => path).sort()).toEqual([
      ...['mode', 'new', 'same', 'was'],
    ])
    expect(await diffTrees(trees.reader, now, now)).toEqual([])
  })

  test('applied backwards it gives the tree before', async () => {
    const trees = new Trees()
    const old = await trees.of({ 'a/b': blob('1'), 'a/c': blob('2'), d: blob('3', '120000') })
    const now = await trees.of({ 'a/b': blob('9'), 'd/e': blob('4'), f: blob('5', '160000') })
    const back = new Map((await diffTrees(trees.reader, old, now)).map(({ path, old: leaf }) => [path, leaf]))
    expect((await changeTree(trees.reader, now, back)).tree).toBe(old)
  })

  test('reads nothing below what is equal', async () => {
    const trees = new Trees()
    const old = await trees.of({ 'a/x': blob('1'), 'b/x': blob('2') })
    const now = await trees.of({ 'a/x': blob('1'), 'b/x': blob('3') })
    trees.read = 0
    expect(await diffTrees(trees.reader, old, now)).toHaveLength(1)
    expect(trees.read).toBe(4)
  })
})

describe('leafAt()', () => {
  test('files and links, never folders, never through a file', async () => {
    const trees = new Trees()
    const root = await trees.of({ 'a/b': blob('b'), link: blob('a', '120000') })
    expect(await leafAt(trees.reader, root, 'a/b')).toEqual(blob('b'))
    expect(await leafAt(trees.reader, root, 'link')).toEqual(blob('a', '120000'))
    for (const path of ['a', 'a/c', 'a/b/c', 'link/b', 'x/y/z'])
      expect(await leafAt(trees.reader, root, path), path).toBeUndefined()
  })
})

test('folders without end that hold no path are given up, not walked for ever', async () => {
  const trees = new Trees()
  let hollow = encodeTree([])
  for (let level = 0; level < 60; level++) {
    trees.keep([hollow])
    const { oid } = hollow
    hollow = encodeTree(['a', 'b'].map((name) => ({ mode: '40000', name, oid })))
  }
  trees.keep([hollow])
  await expect(diffTrees(trees.reader, EMPTY_TREE.oid, hollow.oid)).rejects.toMatchObject({ code: 'E_TOO_LARGE' })
})
