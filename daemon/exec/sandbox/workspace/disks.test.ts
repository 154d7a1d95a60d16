import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { replaceCp } from '../../../../test/support/sandbox-kit.ts'
import { copyDisk } from './disk-copy.ts'
import { EmptyDisks } from './empty-disks.ts'
import { canMakeDisks, mountDisk, mountPoint, removeDisk, thawDisk } from './loop-disk.ts'

const able = await canMakeDisks()
if (!able) console.warn('SKIPPED: disks in files: this process cannot make and mount them')

const MIB = 1 << 20
let folder: string
const mounts = (): number => readFileSync('/proc/self/mountinfo', 'utf8').split(folder).length - 1

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'mh-disks-'))
})
afterEach(async () => {
  for (const name of readdirSync(folder)) await removeDisk(join(folder, name))
  expect(mounts()).toBe(0)
  rmSync(folder, { recursive: true })
})

describe.skipIf(!able)('empty disks', () => {
  const size = (inodes: number) => ({ bytes: 8 * MIB, inodes, uid: 10_001 })

  it('SBX-03: of ever other sizes leave only the few templates behind that were used last', async () => {
    const templates = join(folder, 'templates')
    const disks = new EmptyDisks(templates)
    const made = Array.from({ length: 12 }, (_, n) => join(folder, `disk${n}`))
    await Promise.all(made.map((at, n) => disks.make(at, size(256 + n))))
    await disks.make(join(folder, 'last'), size(300))
    expect(readdirSync(templates)).toHaveLength(8)
    // Not the newest stays, but what was used last.
    const [first = ''] = readdirSync(templates).filter((name) => !name.includes('-300-'))
    utimesSync(join(templates, first), 1, 1)
    await disks.make(join(folder, 'again'), size(Number(first.split('-')[2])))
    await disks.make(join(folder, 'other'), size(400))
    expect(readdirSync(templates)).toHaveLength(8)
    expect(readdirSync(templates)).toContain(first)
    // What is made of them is whole, whichever template has gone.
    for (const [n, at] of made.entries()) {
      expect(readdirSync(mountPoint(at)).sort()).toEqual(['home', 'workspace'])
      expect(statfsSync(mountPoint(at)).files).toBeGreaterThanOrEqual(256 + n)
    }
  })

  it('in the making at a crash are no hindrance, and gone after the next start', async () => {
    const templates = join(folder, 'templates')
    const before = new EmptyDisks(templates)
    await before.make(join(folder, 'disk'), size(256))
    const left = join(templates, 'making-1')
    mkdirSync(mountPoint(left), { recursive: true })
    const [template = ''] = readdirSync(templates).filter((name) => name.startsWith('ext4-'))
    execFileSync('cp', [join(templates, template), join(left, 'disk.img')])
    execFileSync('mount', ['-o', 'loop', join(left, 'disk.img'), mountPoint(left)])
    await new EmptyDisks(templates).sweep()
    expect(readdirSync(templates)).toEqual([template])
  })
})

describe.skipIf(!able)('a copy', () => {
  it('may take the longer the more the disk holds; one that does not end is ended, says so, and the disk goes on', async () => {
    const from = join(folder, 'from')
    const disks = new EmptyDisks(join(folder, 'templates'))
    const { workspace } = await disks.make(from, { bytes: 16 * MIB, inodes: 256, uid: 0 })
    writeFileSync(join(workspace, 'a'), randomBytes(8 * MIB), { flush: true })
    const takeBack = replaceCp(join(folder, 'bin'), 'sleep 0.5; exec /bin/cp "$@"')
    try {
      await expect(copyDisk(from, join(folder, 'late'), { restMs: 100, bytesPerMs: 1e9 })).rejects.toMatchObject({
        code: 'E_ENGINE',
        message: expect.stringMatching(/cp did not end within/) as string,
      })
      writeFileSync(join(workspace, 'b'), 'goes on')
      expect(await copyDisk(from, join(folder, 'to'), { restMs: 100, bytesPerMs: 100 })).toBeGreaterThan(8 * MIB)
    } finally {
      takeBack()
    }
    const copied = await mountDisk(join(folder, 'to'))
    expect(readFileSync(join(copied.workspace, 'b'), 'utf8')).toBe('goes on')
    expect(readFileSync(join(copied.workspace, 'a'))).toEqual(readFileSync(join(workspace, 'a')))
  })

  it('that was cut off by the end of its process leaves a disk that can be written once it is wanted again', async () => {
    const at = join(folder, 'disk')
    const disks = new EmptyDisks(join(folder, 'templates'))
    const { workspace } = await disks.make(at, { bytes: 8 * MIB, inodes: 256, uid: 0 })
    for (const again of [mountDisk, thawDisk]) {
      execFileSync('fsfreeze', ['-f', mountPoint(at)])
      await again(at)
      // Would not fail but wait
      execFileSync('timeout', ['-k', '1', '10', 'cp', '/etc/hostname', join(workspace, 'a')])
    }
    expect(mounts()).toBe(1)
  })
})
