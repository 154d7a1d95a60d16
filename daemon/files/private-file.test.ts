import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { writeFileAtomic } from './atomic-file.ts'
import { createPrivateFile, ensurePrivateFolder, readPrivateFile } from './private-file.ts'

const root = mkdtempSync(join(tmpdir(), 'manyhands-files-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))
let folder = root
let number = 0
beforeEach(() => {
  folder = join(root, `${number++}`)
  mkdirSync(folder)
})
const mode = (path: string) => statSync(path).mode & 0o777

describe('writeFileAtomic()', () => {
  it('replaces content, sets the mode, and leaves nothing else', async () => {
    const path = join(folder, 'f')
    await writeFileAtomic(path, 'one')
    await writeFileAtomic(path, 'two', { mode: 0o640 })
    expect([readFileSync(path, 'utf8'), mode(path), readdirSync(folder)]).toEqual(['two', 0o640, ['f']])
  })

  it('names the file that a full disk did not take', async () => {
    const other = await open(join(folder, 'other'), 'w')
    const full = Object.assign(new Error('ENOSPC: no space left on device, fsync'), { code: 'ENOSPC' })
    const sync = vi.spyOn(Object.getPrototypeOf(other) as typeof other, 'sync').mockRejectedValueOnce(full)
    try {
      const path = join(folder, 'f')
      await expect(writeFileAtomic(path, 'x')).rejects.toMatchObject({
        code: 'ENOSPC',
        path: expect.stringMatching(`^${path}`) as unknown,
      })
    } finally {
      sync.mockRestore()
      await other.close()
    }
  })

  it('keeps the old state and cleans up when it cannot replace', async () => {
    const path = join(folder, 'f')
    mkdirSync(path)
    await expect(writeFileAtomic(path, 'x')).rejects.toThrow()
    expect(readdirSync(folder)).toEqual(['f'])
  })
})

describe('private files', () => {
  it('are created 0600 whatever the umask, and only once', async () => {
    const path = join(folder, 'secret')
    const before = process.umask(0)
    try {
      expect(await createPrivateFile(path, 'a')).toBe(true)
      await ensurePrivateFolder(join(folder, 'a', 'b'))
    } finally {
      process.umask(before)
    }
    expect([mode(path), mode(join(folder, 'a', 'b'))]).toEqual([0o600, 0o700])
    expect(await createPrivateFile(path, 'b')).toBe(false)
    expect((await readPrivateFile(path, 10))?.toString()).toBe('a')
    expect(await readPrivateFile(join(folder, 'none'), 10)).toBeUndefined()
  })

  it('have their name only once they are whole: a crash leaves none or all of it', async () => {
    const path = join(folder, 'secret')
    const made = createPrivateFile(path, Buffer.alloc(1 << 20))
    for (;;) {
      const size = statSync(path, { throwIfNoEntry: false })?.size
      if (size !== undefined) {
        expect(size).toBe(1 << 20)
        break
      }
      await new Promise(setImmediate)
    }
    expect(await made).toBe(true)
    expect(readdirSync(folder)).toEqual(['secret'])
  })

  it('are refused when others can read them, when they are links, folders, or too long', async () => {
    const path = join(folder, 'secret')
    writeFileSync(path, 'secret', { mode: 0o600 })
    await expect(readPrivateFile(path, 3)).rejects.toMatchObject({ code: 'E_TOO_LARGE' })
    symlinkSync(path, join(folder, 'link'))
    chmodSync(path, 0o640)
    mkdirSync(join(folder, 'dir'), { mode: 0o700 })
    for (const name of ['secret', 'link', 'dir'])
      await expect(readPrivateFile(join(folder, name), 100)).rejects.toMatchObject({ code: 'E_INSECURE_FILE' })
  })

  it('do not follow a link planted where one is to be created', async () => {
    symlinkSync(join(folder, 'elsewhere'), join(folder, 'secret'))
    expect(await createPrivateFile(join(folder, 'secret'), 'a')).toBe(false)
    expect(readdirSync(folder)).toEqual(['secret'])
  })

  it('need a folder that is ours alone', async () => {
    const open = join(folder, 'open')
    mkdirSync(open)
    chmodSync(open, 0o755)
    symlinkSync(open, join(folder, 'link'))
    for (const name of ['open', 'link'])
      await expect(ensurePrivateFolder(join(folder, name))).rejects.toMatchObject({ code: 'E_INSECURE_FILE' })
  })

  it.runIf(process.geteuid?.() === 0)('are refused when another user owns them', async () => {
    const { chownSync } = await import('node:fs')
    const path = join(folder, 'secret')
    writeFileSync(path, 'x', { mode: 0o600 })
    chownSync(path, 10_001, 10_001)
    await expect(readPrivateFile(path, 10)).rejects.toThrow(/another user/)
  })
})
