import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ObjectReader } from '../store/object-reader.ts'
import { git } from '../testing/store-fixture.ts'
import { smallPack } from './small-pack.ts'

let folder: string
let work: string
let reader: ObjectReader

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'manyhands-small-'))
  work = join(folder, 'work')
  git(folder, 'init', '-q', '-b', 'main', work)
  reader = new ObjectReader()
})
afterEach(async () => {
  await reader.close()
  rmSync(folder, { recursive: true, force: true })
})

function commit(files: Readonly<Record<string, string>>): string {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(work, path, '..'), { recursive: true })
    writeFileSync(join(work, path), text)
  }
  git(work, 'add', '-A')
  git(work, 'commit', '-q', '-m', 'change')
  return git(work, 'rev-parse', 'HEAD').trim()
}

const made = (wants: readonly string[], haves: readonly string[]): Promise<Buffer | undefined> =>
  smallPack(reader, join(work, '.git'), { wants, haves })

/** Whether a repository that has `haves` and no more is complete up to `want` with it. @returns how many objects it held */
function completes(pack: Buffer | undefined, want: string, haves: readonly string[]): number {
  const other = join(folder, 'other.git')
  rmSync(other, { recursive: true, force: true })
  git(folder, 'init', '-q', '--bare', other)
  for (const have of haves) git(other, 'fetch', '-q', '--no-tags', join(work, '.git'), have)
  execFileSync('git', ['-C', other, 'index-pack', '--stdin', '--strict'], {
    input: pack,
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  git(other, 'rev-list', '--quiet', '--objects', want, '--')
  return pack?.readUInt32BE(8) ?? 0
}

describe('a small pack', () => {
  it('holds what changed below folders, and no more', async () => {
    const first = commit({ 'a/b/one': '1', 'a/c/two': '2', three: '3' })
    const second = commit({ 'a/b/one': '1+', 'a/d/new': 'n' })
    const third = commit({ three: '3+' })
    const pack = await made([third], [first])
    // two commits, their roots; a, b, d and their two files; one file
    expect(completes(pack, third, [first])).toBe(10)
    expect(completes(await made([second], [first]), second, [first])).toBe(7)
  })

  it('is whole for who has nothing, and follows both sides of a merge', async () => {
    const first = commit({ one: '1' })
    git(work, 'checkout', '-q', '-b', 'side')
    const side = commit({ side: 's' })
    git(work, 'checkout', '-q', 'main')
    const main = commit({ main: 'm' })
    git(work, 'merge', '-q', '--no-edit', 'side')
    const merged = git(work, 'rev-parse', 'HEAD').trim()
    completes(await made([merged], []), merged, [])
    completes(await made([merged], [main]), merged, [main])
    expect(completes(await made([merged], [main, side]), merged, [main, side])).toBe(2)
    expect(completes(await made([first], []), first, [])).toBe(3)
  })

  it('finds a file again that came back from an older commit', async () => {
    const first = commit({ file: 'old', more: 'm' })
    const second = commit({ file: 'new' })
    const third = commit({ file: 'old' })
    completes(await made([third], [second]), third, [second])
    completes(await made([third], [first]), third, [first])
  })

  it('is none of much, of tags, and of what is not there', async () => {
    const first = commit({ one: '1' })
    const large = commit({ large: 'x'.repeat(70_000) })
    expect(await made([large], [first])).toBeUndefined()
    const many = commit(Object.fromEntries(Array.from({ length: 300 }, (_, index) => [`f${index}`, `${index}`])))
    expect(await made([many], [large])).toBeUndefined()
    git(work, 'tag', '-a', '-m', 'tag', 'v1', first)
    expect(await made([git(work, 'rev-parse', 'v1').trim()], [])).toBeUndefined()
    expect(await made(['1'.repeat(40)], [])).toBeUndefined()
  })
})
