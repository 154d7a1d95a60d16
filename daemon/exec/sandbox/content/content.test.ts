import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import { EntryPlacer } from './place-entries.ts'
import { sortChanges } from './root-changes.ts'
import { padding, TAR_END, type TarEntry, tarHeader } from './tar-format.ts'
import { readTar } from './tar-reader.ts'

const base = mkdtempSync(join(tmpdir(), 'mh-content-'))
afterAll(() => rmSync(base, { recursive: true, force: true }))
let root = ''
let count = 0
beforeEach(() => {
  root = join(base, `${++count}`)
  for (const folder of ['workspace', 'home']) mkdirSync(join(root, folder), { recursive: true })
})

const BOUNDS = { entries: 100, bytes: 1 << 20 }
type Part = Partial<TarEntry> & {
  readonly name: string
  readonly body?: string
  readonly raw?: (header: Buffer) => void
}

function tar(...parts: readonly Part[]): Buffer {
  const blocks = parts.flatMap(({ body = '', raw, ...entry }) => {
    const header = tarHeader({
      ...{ type: 'file', mode: 0o644, uid: 0, modified: 1, target: '', bytes: Buffer.byteLength(body) },
      ...entry,
    })
    raw?.(header)
    return [header, Buffer.from(body), padding(Buffer.byteLength(body))]
  })
  return Buffer.concat([...blocks, TAR_END])
}

/** Changes a field of a header and makes its checksum right again. */
function forge(at: number, text: string): (header: Buffer) => void {
  return (header) => {
    header.write(text, at, 'latin1')
    header.fill(' ', 148, 156)
    const sum = header.subarray(0, 512).reduce((total, byte) => total + byte, 0)
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  }
}

async function* inPieces(bytes: Buffer, size: number): AsyncGenerator<Uint8Array, void> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

async function place(bytes: Buffer, bounds = BOUNDS): Promise<void> {
  const placer = new EntryPlacer(root, process.geteuid?.() ?? 0)
  for await (const item of readTar(inPieces(bytes, 700), bounds)) await placer.place(item)
}

describe('content streams', () => {
  it('bring back what was packed: long names, links, modes, empty and large files', async () => {
    const long = `workspace/${'d'.repeat(90)}`
    const deep = `${long}/${'ü'.repeat(60)}.txt`
    await place(
      tar(
        { name: 'workspace', type: 'folder', mode: 0o755 },
        { name: long, type: 'folder', mode: 0o700 },
        { name: deep, body: 'x'.repeat(2_000), mode: 0o4755 },
        { name: 'workspace/empty' },
        { name: 'workspace/link', type: 'symlink', target: `/etc/${'p'.repeat(200)}` },
      ),
    )
    expect(readFileSync(join(root, deep), 'utf8')).toHaveLength(2_000)
    // The bit that would change who runs it is left behind.
    expect(statSync(join(root, deep)).mode & 0o7777).toBe(0o755)
    expect(statSync(join(root, 'workspace/empty')).size).toBe(0)
    expect(readlinkSync(join(root, 'workspace/link'))).toHaveLength(205)
  })

  it.each<[string, () => Buffer]>([
    ['..', () => tar({ name: 'workspace/../../out', body: 'x' })],
    ['an absolute path', () => tar({ name: '/etc/passwd', body: 'x' })],
    ['a path outside of its folders', () => tar({ name: 'etc/passwd', body: 'x' })],
    ['a folder outside of its folders', () => tar({ name: 'other', type: 'folder' })],
    ['a folder that was not made', () => tar({ name: 'workspace/a/b', body: 'x' })],
    [
      'a link that is written through',
      () => tar({ name: 'workspace/l', type: 'symlink', target: '/tmp' }, { name: 'workspace/l/out', body: 'x' }),
    ],
    [
      'a link that is made a folder later',
      () => tar({ name: 'workspace/l', type: 'symlink', target: '/tmp' }, { name: 'workspace/l', type: 'folder' }),
    ],
    ['a name that comes twice', () => tar({ name: 'workspace/a', body: 'x' }, { name: 'workspace/a', body: 'y' })],
    ['a file in place of a folder', () => tar({ name: 'workspace', body: 'x' })],
    ['a hard link', () => tar({ name: 'workspace/h', raw: forge(156, '1') })],
    ['a character device', () => tar({ name: 'workspace/d', raw: forge(156, '3') })],
    ['a block device', () => tar({ name: 'workspace/d', raw: forge(156, '4') })],
    ['a pipe', () => tar({ name: 'workspace/d', raw: forge(156, '6') })],
    ['a sparse file of 10 GB', () => tar({ name: 'workspace/s', raw: forge(156, 'S') })],
    ['a file larger than all may be', () => tar({ name: 'workspace/b', bytes: 10 * 2 ** 30 })],
    ['a size that is no number', () => tar({ name: 'workspace/b', raw: forge(124, '-1234567890') })],
    ['a checksum that is wrong', () => tar({ name: 'workspace/b', raw: (header) => header.write('zz', 0) })],
    ['a name with a zero', () => tar({ name: `workspace/a\0${'b'.repeat(100)}`, body: 'x' })],
    ['an end in the middle', () => tar({ name: 'workspace/b', body: 'x'.repeat(5_000) }).subarray(0, 2_000)],
    ['an end that is missing', () => tar({ name: 'workspace/b', body: 'x' }).subarray(0, 1_024)],
    ['a compressed stream', () => Buffer.concat([Buffer.from('\xfd7zXZ\0', 'latin1'), Buffer.alloc(1_000, 7)])],
    ['too many entries', () => tar(...Array.from({ length: 101 }, (_, i) => ({ name: `workspace/${i}` })))],
    ['folders without end', () => tar({ name: `workspace/${'a/'.repeat(1_000)}b`, body: 'x' })],
  ])('SBX-21: refuses %s, and touches nothing outside', async (_, make) => {
    await expect(place(make())).rejects.toMatchObject({ code: 'E_PROTOCOL' })
    expect(() => statSync(join(base, 'out'))).toThrow()
    expect(() => statSync('/tmp/out')).toThrow()
  })

  it('SBX-21: a link that lies there already is not followed', async () => {
    const outside = join(base, 'outside')
    writeFileSync(outside, 'kept')
    symlinkSync(outside, join(root, 'workspace', 'f'))
    await expect(place(tar({ name: 'workspace/f', body: 'x' }))).rejects.toMatchObject({ code: 'E_PROTOCOL' })
    expect(readFileSync(outside, 'utf8')).toBe('kept')
  })

  it('changes of the root leave out what is not the root', () => {
    const changes = [
      { path: '/etc/a', kind: 1 },
      { path: '/workspace/x', kind: 1 },
      { path: '/run/manyhands', kind: 1 },
      { path: '/etc/hosts', kind: 1 },
      { path: '/etc/resolv.conf', kind: 2 },
      { path: '/usr/bin/old', kind: 2 },
      { path: 'relative', kind: 1 },
    ]
    expect(sortChanges(changes)).toEqual({ kept: ['/etc/a'], removed: ['/usr/bin/old'] })
  })
})
