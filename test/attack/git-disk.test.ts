/** F15: a full disk below the repositories, the journal elsewhere. Nothing is acknowledged that is not stored, and what was stored before is served. */
import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Content } from '../../daemon/artifacts/content/content.ts'
import { type DoorKit, openDoor } from '../support/git-door.ts'
import { mountTmpfs, tmpfsProblem } from '../support/tmpfs.ts'

const problem = tmpfsProblem()
const MAIN = 'refs/heads/main'

describe.skipIf(problem !== undefined)(`F15 full disk ${problem ?? ''}`, () => {
  let folder: string
  let unmount: () => void
  let kit: DoorKit
  let clone: string
  let tip: string | undefined

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'manyhands-full-'))
    const root = join(folder, 'artifacts')
    mkdirSync(root)
    unmount = mountTmpfs(root, 'size=8m')
    kit = await openDoor({ root })
    await kit.create('notes')
    clone = join(kit.folder, 'clone')
    await kit.git('clone', '-q', kit.url('notes'), clone)
    await push('a', 'a')
    tip = tipNow()
  }, 60_000)
  afterAll(async () => {
    await kit.close()
    unmount()
    rmSync(folder, { recursive: true, force: true })
  })

  const tipNow = (): string | undefined => kit.store.refs(kit.store.require('notes').id).get(MAIN)

  async function push(name: string, content: string | Buffer): Promise<{ code: number; text: string }> {
    writeFileSync(join(clone, name), content)
    await kit.git('-C', clone, 'add', '.')
    await kit.git('-C', clone, 'commit', '-qm', name)
    return kit.tryGit('-C', clone, 'push', 'origin', 'HEAD:main')
  }

  async function isAsBefore(): Promise<void> {
    expect(tipNow()).toBe(tip)
    const staging = join(folder, 'artifacts', 'staging')
    await expect.poll(() => readdirSync(staging), { timeout: 10_000 }).toEqual([])
    const copy = join(kit.folder, `copy-${randomBytes(4).toString('hex')}`)
    await kit.git('clone', '-q', kit.url('notes'), copy)
    await kit.git('-C', copy, 'fsck', '--strict')
  }

  it('a push that does not fit is refused in words, and moves nothing', async () => {
    const { code, text } = await push('large', randomBytes(12 << 20))
    expect([code, text]).toEqual([1, expect.stringMatching(/remote: Cannot store it: the disk of this node is full/)])
    await kit.git('-C', clone, 'reset', '-q', '--hard', 'HEAD~1')
    await isAsBefore()
  })

  it('so is a large file, and a commit by the API', async () => {
    const bytes = randomBytes(12 << 20)
    const oid = createHash('sha256').update(bytes).digest('hex')
    const url = `http://127.0.0.1:${kit.port}/git/notes.git/info/lfs/objects/${oid}`
    const answer = await fetch(url, { method: 'PUT', headers: { authorization: 'Bearer admin' }, body: bytes })
    expect(answer.status).toBe(507)
    const { id } = kit.store.require('notes')
    expect(kit.door.files.size(id, oid)).toBeUndefined()
    const content = new Content(kit.store)
    const files = [{ path: 'large', content: randomBytes(12 << 20) }]
    await expect(content.commit(id, { files, message: 'large', by: {} })).rejects.toSatisfy(
      (error: unknown) => error instanceof Error && /ENOSPC|full/.test(String(error)),
    )
    await isAsBefore()
  })

  it('goes on when there is room, without a new start', async () => {
    expect(await push('b', 'b')).toMatchObject({ code: 0 })
    expect(tipNow()).not.toBe(tip)
  })
})
