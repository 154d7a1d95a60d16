import { describe, expect, it } from 'vitest'
import type { FileChange } from '../../daemon/exec/sandbox/guest/guest-connection.ts'
import { MeshError } from '../../protocol/errors.ts'
import { code, type GuestTools, MIB, OK } from './guest-under-test.ts'

/** What every agent must do with the files of its sandbox. */
export function fileCases(tools: GuestTools): void {
  const { at, sh, until } = tools
  describe('files', () => {
    it('are written in one step and read back, small and large', async () => {
      const large = Buffer.alloc(3 * MIB, 'abcdefg')
      for (const content of [Buffer.from('text'), Buffer.alloc(0), large]) {
        await tools.box.files.write(at('deep/er/file'), content)
        expect(Buffer.from(await tools.box.files.read(at('deep/er/file'))).equals(content)).toBe(true)
      }
      await expect(tools.box.files.read(at('deep/er/file'), { maxBytes: MIB })).rejects.toThrow(code('E_TOO_LARGE'))
      expect((await tools.box.files.list(at('deep/er'))).map((entry) => entry.name)).toEqual(['file'])
    })

    it('stream both ways, and a failing source leaves the old content', async () => {
      const part = Buffer.alloc(MIB, 'xyz')
      const source = async function* (parts: number): AsyncGenerator<Uint8Array> {
        for (let n = 0; n < parts; n++) yield part
        if (parts > 6) throw new Error('the source failed')
      }
      await tools.box.files.write(at('stream'), source(6), { mode: 0o640 })
      await expect(tools.box.files.write(at('stream'), source(8))).rejects.toThrow('the source failed')
      let bytes = 0
      for await (const piece of tools.box.files.readStream(at('stream'), { offset: 5 })) bytes += piece.length
      expect(bytes).toBe(6 * MIB - 5)
      expect(await tools.box.files.stat(at('stream'))).toMatchObject({ type: 'file', mode: 0o640, bytes: 6 * MIB })
      for await (const piece of tools.box.files.readStream(at('stream'))) {
        expect(piece.length).toBeGreaterThan(0)
        break
      }
      expect((await tools.box.files.list(tools.folder)).filter((entry) => entry.name.endsWith('.tmp'))).toEqual([])
    })

    it('are listed, moved and removed; refusals have codes', async () => {
      const { files } = tools.box
      await files.mkdir(at('tree/a/b'))
      await files.mkdir(at('tree/a/b'))
      await files.write(at('tree/a/one'), '1')
      await files.write(at('tree/a/two'), '22', { mode: 0o700 })
      await sh(`ln -s one ${at('tree/a/link')}`)
      const seen = (await files.list(at('tree/a'))).map(({ name: entry, type, bytes }) => [
        entry,
        type,
        type === 'file' ? bytes : 0,
      ])
      expect(seen).toEqual([
        ['b', 'folder', 0],
        ['link', 'symlink', 0],
        ['one', 'file', 1],
        ['two', 'file', 2],
      ])
      await files.move(at('tree/a/one'), at('tree/moved'))
      expect(Buffer.from(await files.read(at('tree/moved'))).toString()).toBe('1')
      await expect(files.read(at('tree/a/one'))).rejects.toThrow(code('E_NOT_FOUND'))
      await expect(files.list(at('tree/a'), { maxEntries: 1 })).rejects.toThrow(code('E_TOO_LARGE'))
      await expect(files.remove(at('tree'))).rejects.toThrow(code('E_CONFLICT'))
      await expect(files.read(at('tree'))).rejects.toThrow(code('E_BAD_REQUEST'))
      await expect(files.read('relative')).rejects.toThrow(code('E_BAD_REQUEST'))
      await files.remove(at('tree/a/link'))
      await files.remove(at('tree'), { recursive: true })
      await expect(files.stat(at('tree'))).rejects.toThrow(code('E_NOT_FOUND'))
    })

    it('SBX-22 are not reached over a symbolic link, also one that comes and goes', async () => {
      const { files } = tools.box
      await sh(
        `mkdir -p ${at('swap/real')}; echo inside > ${at('swap/real/f')}; ln -s /etc ${at('swap/etc')}; ln -s /etc/passwd ${at('swap/out.txt')}`,
      )
      await expect(files.read(at('swap/out.txt'))).rejects.toThrow(code('E_SYMLINK'))
      await expect(files.read(at('swap/etc/passwd'))).rejects.toThrow(code('E_SYMLINK'))
      await expect(files.write(at('swap/out.txt'), 'x')).rejects.toThrow(code('E_SYMLINK'))
      await expect(files.list(at('swap/etc'))).rejects.toThrow(code('E_SYMLINK'))
      await expect(files.read(at('swap/../../etc/passwd'))).rejects.toThrow(code('E_SYMLINK'))
      if (!tools.box.features.watch) return
      // the folder turns into a link to another with the same file name, and back, as fast as it goes
      await sh(`mkdir ${at('swap/evil')}; echo outside > ${at('swap/evil/f')}`)
      const swapper = tools.box.exec({
        argv: ['sh', '-c', `cd ${at('swap')}; while :; do mv real was; ln -s evil real; rm real; mv was real; done`],
      })
      const seen = new Set<string>()
      for (let n = 0; n < 1000; n++) {
        const found = await files.read(at('swap/real/f')).then(
          (bytes) => Buffer.from(bytes).toString(),
          (error: unknown) => (error instanceof MeshError ? error.code : String(error)),
        )
        seen.add(found)
      }
      swapper.stop(0)
      expect([...seen].filter((one) => !['inside\n', 'E_SYMLINK', 'E_NOT_FOUND'].includes(one))).toEqual([])
      expect(seen.has('inside\n')).toBe(true)
    })

    it('that cannot be made are refused, and nothing else is lost', async () => {
      await expect(tools.box.files.write('/proc/none', 'x')).rejects.toBeInstanceOf(MeshError)
      await tools.box.files.write(at('plain'), 'x')
      await expect(tools.box.files.write(at('plain/below-a-file'), 'x')).rejects.toBeInstanceOf(MeshError)
      await tools.box.ping()
      expect(await sh('echo well')).toMatchObject({ out: 'well\n', end: OK })
    })

    it('that are no files are not waited for', async () => {
      await sh(`mkfifo ${at('pipe')}`)
      await expect(tools.box.files.read(at('pipe'))).rejects.toThrow(code('E_BAD_REQUEST'))
      await expect(tools.box.files.write(at('pipe'), 'x')).rejects.toThrow(code('E_BAD_REQUEST'))
      await tools.box.files.remove(at('pipe'))
    })

    it('tell of their changes', async () => {
      if (!tools.box.features.watch) {
        const watching = tools.box.files.watch(tools.folder)[Symbol.asyncIterator]()
        return expect(watching.next()).rejects.toThrow(code('E_GUEST_FEATURE'))
      }
      await tools.box.files.mkdir(at('watched'))
      const stop = new AbortController()
      const seen: FileChange[] = []
      const watching = (async () => {
        for await (const change of tools.box.files.watch(at('watched'), { signal: stop.signal })) seen.push(change)
      })()
      await until(async () => {
        await tools.box.files.write(at('watched/new'), 'x')
        return seen.some((change) => change.kind === 'created' && change.name === 'new')
      })
      await tools.box.files.remove(at('watched/new'))
      await until(async () => seen.some((change) => change.kind === 'removed' && change.name === 'new'))
      stop.abort()
      await watching
    })
  })
}
