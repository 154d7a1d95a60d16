/**
 * Makes empty disks, each a copy of a template of its size: an empty, never mounted image takes milliseconds to copy and tens of them to make. Who asks for a
 * sandbox chooses the size, so only the templates used last are kept. In the folder of templates, which is its owner's alone:
 *
 *   ext4-<bytes>-<inodes>-<uid>.img   a template, at most a megabyte on the host; its time of change is when it was used last
 *   making-<random>/                  a disk that becomes one; what a crash leaves of it is removed at the next start
 */
import { randomBytes } from 'node:crypto'
import { chmod, chown, mkdir, open, readdir, rename, rm, rmdir, stat, truncate, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { Serial } from '../serial.ts'
import { copyImage } from './disk-copy.ts'
import { diskTool } from './disk-tool.ts'
import { type DiskPaths, imageOf, mountDisk, mountPoint, removeDisk, unmountDisk } from './loop-disk.ts'

const KEPT_TEMPLATES = 8
const TEMPLATE = /^ext4-\d+-\d+-\d+\.img$/

export interface DiskSize {
  readonly bytes: number
  readonly inodes: number
  /** Whose the workspace and home are */
  readonly uid: number
}

export class EmptyDisks {
  readonly #templates: string
  /** Templates come and go one after the other, so that none goes between being found and being in use */
  readonly #changes = new Serial()
  /** How many copies of a template are being made, by its name */
  readonly #inUse = new Map<string, number>()

  /** @param templates a folder; made when it is needed */
  constructor(templates: string) {
    this.#templates = templates
  }

  /** Makes an empty disk in `folder` and mounts it. @throws MeshError E_ENGINE */
  async make(folder: string, size: DiskSize): Promise<DiskPaths> {
    await mkdir(folder, { recursive: true, mode: 0o700 })
    const name = `ext4-${size.bytes}-${size.inodes}-${size.uid}.img`
    this.#inUse.set(name, (this.#inUse.get(name) ?? 0) + 1)
    try {
      await this.#changes.run(() => this.#haveTemplate(name, size))
      await copyImage(join(this.#templates, name), imageOf(folder))
    } finally {
      const left = (this.#inUse.get(name) ?? 0) - 1
      if (left > 0) this.#inUse.set(name, left)
      else this.#inUse.delete(name)
    }
    return mountDisk(folder)
  }

  /** Removes what a crash left. */
  sweep(): Promise<void> {
    return this.#changes.run(async () => {
      for (const name of await this.#names()) if (!TEMPLATE.test(name)) await removeDisk(join(this.#templates, name))
      await this.#prune()
    })
  }

  async #haveTemplate(name: string, size: DiskSize): Promise<void> {
    const path = join(this.#templates, name)
    const now = new Date()
    if (await wasTouched(path, now)) return
    const fresh = join(this.#templates, `making-${randomBytes(6).toString('hex')}`)
    await mkdir(fresh, { recursive: true, mode: 0o700 })
    try {
      await formatDisk(fresh, size)
      await utimes(imageOf(fresh), now, now)
      await rename(imageOf(fresh), path)
    } finally {
      await removeDisk(fresh)
    }
    await this.#prune()
  }

  async #prune(): Promise<void> {
    const names = (await this.#names()).filter((name) => TEMPLATE.test(name))
    const used = await Promise.all(
      names.map(async (name) => ({ name, at: (await stat(join(this.#templates, name))).mtimeMs })),
    )
    const old = used.sort((a, b) => b.at - a.at).slice(KEPT_TEMPLATES)
    for (const { name } of old) if (!this.#inUse.has(name)) await rm(join(this.#templates, name))
  }

  #names(): Promise<string[]> {
    return readdir(this.#templates).catch(() => [])
  }
}

/** False: there is no such file. */
const wasTouched = (path: string, at: Date): Promise<boolean> =>
  utimes(path, at, at).then(
    () => true,
    () => false,
  )

async function formatDisk(folder: string, { bytes, inodes, uid }: DiskSize): Promise<void> {
  const image = imageOf(folder)
  const file = await open(image, 'wx', 0o600)
  await file.close()
  // The guest gets what was asked for: what the file system itself needs is added.
  await truncate(image, roundUp(bytes + inodes * 256 + Math.max(bytes >> 6, 8 << 20), 4096))
  const journal = bytes >= 256 << 20 ? ['-J', 'size=8'] : ['-J', 'size=4', '-b', '4096']
  const features = ['-O', '^resize_inode', '-E', 'lazy_itable_init=1,lazy_journal_init=1,nodiscard']
  await diskTool(
    'mkfs.ext4',
    ['-q', '-F', '-m', '0', '-N', `${inodes}`, ...journal, ...features, image],
    'make a workspace',
  )
  const paths = await mountDisk(folder)
  await rmdir(join(mountPoint(folder), 'lost+found'))
  for (const path of [paths.workspace, paths.home]) {
    await mkdir(path)
    await chmod(path, 0o755)
    await chown(path, uid, uid)
  }
  await unmountDisk(folder)
}

const roundUp = (value: number, step: number): number => Math.ceil(value / step) * step
