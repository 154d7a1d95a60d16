/**
 * The project's own image, made from Debian's packages: a root file system by debootstrap with the tools agents ask for first. The list of arguments is
 * fixed, so the same state of the mirror gives the same packages.
 */
import { execFile, spawn } from 'node:child_process'
import { access, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { MeshError } from '../../../../protocol/errors.ts'
import type { ImageOptions } from '../sandbox.ts'

const run = promisify(execFile)

export const DEBIAN_SUITE = 'bookworm'
export const DEBIAN_MIRROR = 'http://deb.debian.org/debian'
export const DEBIAN_PACKAGES = [
  'build-essential',
  'ca-certificates',
  'curl',
  'git',
  'jq',
  'less',
  'nodejs',
  'npm',
  'openssh-client',
  'procps',
  'python3',
  'python3-pip',
  'python3-venv',
  'ripgrep',
  'unzip',
  'xz-utils',
] as const

/** Building takes minutes; milliseconds. */
const BUILD_MS = 60 * 60_000

export interface BuiltRoot {
  tar(): AsyncIterable<Uint8Array>
  remove(): Promise<void>
}

/** Pure: what debootstrap is called with. */
export function debootstrapArguments(folder: string, mirror: string): string[] {
  return ['--variant=minbase', '--merged-usr', `--include=${DEBIAN_PACKAGES.join(',')}`, DEBIAN_SUITE, folder, mirror]
}

/** @param mirror an archive of Debian. @throws MeshError E_IMAGE */
export async function buildDebianRoot(
  scratch: string,
  options: ImageOptions = {},
  mirror: string = DEBIAN_MIRROR,
): Promise<BuiltRoot> {
  await requireTools()
  await mkdir(scratch, { recursive: true, mode: 0o700 })
  const folder = await mkdtemp(join(scratch, 'root-'))
  const remove = (): Promise<void> => rm(folder, { recursive: true, force: true })
  try {
    await debootstrap(debootstrapArguments(folder, mirror), options)
    await tidy(folder)
    return { tar: () => tarOf(folder), remove }
  } catch (error) {
    await remove()
    throw error instanceof MeshError
      ? error
      : new MeshError('E_IMAGE', 'Cannot build the image: debootstrap failed; see the log', { cause: error })
  }
}

async function requireTools(): Promise<void> {
  const found = await Promise.all(
    ['/usr/sbin/debootstrap', '/usr/bin/debootstrap'].map((path) =>
      access(path).then(
        () => true,
        () => false,
      ),
    ),
  )
  if (process.geteuid?.() === 0 && found.includes(true)) return
  throw new MeshError('E_IMAGE', 'Cannot build the image: root and debootstrap are wanted', {
    hint: 'Install debootstrap and run the daemon as root, or import an image made elsewhere',
  })
}

/** Each line it writes is progress. */
function debootstrap(args: readonly string[], { signal, progress }: ImageOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn('debootstrap', [...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: BUILD_MS,
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', SOURCE_DATE_EPOCH: '0' },
      ...(signal === undefined ? {} : { signal }),
    })
    let last = ''
    const listen = (part: Buffer): void => {
      const line = part.toString('utf8').trim().split('\n').at(-1) ?? ''
      last = line.slice(0, 200)
      progress?.({ step: last })
    }
    child.stdout.on('data', listen)
    child.stderr.on('data', listen)
    child.once('error', reject)
    child.once('close', (code) => {
      if (code === 0) resolve()
      else reject(new MeshError('E_IMAGE', `Cannot build the image: debootstrap ended with ${code}: ${last}`))
    })
  })
}

/** What differs between two builds or is of no use in a sandbox, and the user the guests run as. */
async function tidy(folder: string): Promise<void> {
  const gone = ['var/cache/apt/archives', 'var/lib/apt/lists', 'var/log', 'usr/share/doc', 'usr/share/man', 'tmp']
  for (const path of gone) {
    await rm(join(folder, path), { recursive: true, force: true })
    await mkdir(join(folder, path), { recursive: true })
  }
  await run('chmod', ['1777', join(folder, 'tmp')])
  for (const path of ['etc/machine-id', 'etc/resolv.conf', 'etc/hostname']) await writeFile(join(folder, path), '')
  const passwd = 'agent:x:10001:10001::/home/agent:/bin/sh\n'
  await writeFile(join(folder, 'etc/passwd'), passwd, { flag: 'a' })
  await writeFile(join(folder, 'etc/group'), 'agent:x:10001:\n', { flag: 'a' })
  for (const path of ['workspace', 'home/agent', 'run/mesh']) await mkdir(join(folder, path), { recursive: true })
}

/** Entries in the order of their names, with fixed times. */
async function* tarOf(folder: string): AsyncGenerator<Uint8Array, void> {
  const fixed = ['--sort=name', '--mtime=@0', '--numeric-owner', '--one-file-system', '--format=gnu']
  const child = spawn('tar', [...fixed, '-C', folder, '-cf', '-', '.'], { stdio: ['ignore', 'pipe', 'ignore'] })
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  ended.catch(() => {})
  try {
    yield* child.stdout
    if ((await ended) !== 0) throw new MeshError('E_IMAGE', 'Cannot build the image: its files could not be read')
  } finally {
    child.kill('SIGKILL')
  }
}
