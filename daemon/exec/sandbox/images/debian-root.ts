/**
 * The project's own image, made from Debian's packages: a smallest root file system by debootstrap, then the tools agents ask for first by apt inside it
 * (debootstrap's own resolver knows no alternatives and fails at npm). All arguments are fixed, so the same state of the mirror gives the same packages.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { access, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { MeshError } from '../../../../protocol/errors.ts'
import { sealedStdio } from '../../../processes/sealed-stdio.ts'
import type { ImageOptions } from '../sandbox.ts'
import { runWhole } from './whole-command.ts'

const run = promisify(execFile)

export const DEBIAN_SUITE = 'bookworm'
export const DEBIAN_MIRROR = 'http://deb.debian.org/debian'
const SECURITY_MIRROR = 'http://deb.debian.org/debian-security'
export const DEBIAN_PACKAGES = [
  'ca-certificates',
  'curl',
  'g++',
  'git',
  'git-lfs',
  'jq',
  'less',
  'make',
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

/** One step takes minutes; milliseconds. */
const STEP_MS = 60 * 60_000

export interface BuiltRoot {
  tar(): AsyncIterable<Uint8Array>
  /** Ends every `tar` that goes on, read to its end or not */
  remove(): Promise<void>
}

/** The root that is in a folder. */
export function rootIn(folder: string): BuiltRoot {
  const packing = new Set<ChildProcess>()
  return {
    tar: () => tarOf(folder, packing),
    remove: () => {
      for (const child of packing) child.kill('SIGKILL')
      return rm(folder, { recursive: true, force: true, maxRetries: 3 })
    },
  }
}

/** Pure: what debootstrap is called with. Left to itself it only warns where Debian's keys are missing, and then runs as root whatever the network gives it. */
export function debootstrapArguments(folder: string, mirror: string): string[] {
  return ['--force-check-gpg', '--variant=minbase', '--merged-usr', DEBIAN_SUITE, folder, mirror]
}

/** Pure: the calls of apt inside the new root, in order. */
export function aptCalls(): string[][] {
  const apt = ['apt-get', '-q', '-y', '--no-install-recommends', '-o', 'Acquire::Retries=3', '-o', 'Dpkg::Use-Pty=0']
  return [
    [...apt, 'update'],
    [...apt, 'dist-upgrade'],
    [...apt, 'install', ...DEBIAN_PACKAGES],
  ]
}

/** @param mirror an archive of Debian. @throws MeshError E_IMAGE, E_CANCELED */
export async function buildDebianRoot(
  scratch: string,
  options: ImageOptions = {},
  mirror: string = DEBIAN_MIRROR,
): Promise<BuiltRoot> {
  await requireTools()
  await mkdir(scratch, { recursive: true, mode: 0o700 })
  const folder = await mkdtemp(join(scratch, 'root-'))
  const root = rootIn(folder)
  try {
    await fill(folder, mirror, options)
    await tidy(folder)
    return root
  } catch (error) {
    await root.remove()
    throw error instanceof MeshError
      ? error
      : new MeshError('E_IMAGE', 'Cannot build the image: its files could not be made', { cause: error })
  }
}

async function requireTools(): Promise<void> {
  if (process.geteuid?.() === 0 && (await hasTool('debootstrap')) && (await hasTool('unshare'))) return
  throw new MeshError('E_IMAGE', 'Cannot build the image: root, debootstrap and unshare are wanted', {
    hint: 'Install debootstrap and run the daemon as root, or import an image made elsewhere',
  })
}

async function hasTool(name: string): Promise<boolean> {
  const tries = ['/usr/sbin', '/usr/bin', '/sbin', '/bin'].map((folder) => access(join(folder, name)))
  return Promise.any(tries).then(
    () => true,
    () => false,
  )
}

async function fill(folder: string, mirror: string, { signal, progress }: ImageOptions): Promise<void> {
  const common = {
    action: 'build the image',
    timeoutMs: STEP_MS,
    ...(signal === undefined ? {} : { signal }),
    hidden: folder,
    line: (step: string) => progress?.({ step }),
  }
  await runWhole({ ...common, argv: ['debootstrap', ...debootstrapArguments(folder, mirror)] })
  await prepareApt(folder, mirror)
  for (const argv of aptCalls()) await runWhole({ ...common, argv, root: folder })
}

/** Where packages come from and how names are looked up; and that no service starts. */
async function prepareApt(folder: string, mirror: string): Promise<void> {
  const security = mirror === DEBIAN_MIRROR ? [`deb ${SECURITY_MIRROR} ${DEBIAN_SUITE}-security main`] : []
  const sources = [`deb ${mirror} ${DEBIAN_SUITE} main`, `deb ${mirror} ${DEBIAN_SUITE}-updates main`, ...security]
  await writeFile(join(folder, 'etc/apt/sources.list'), `${sources.join('\n')}\n`)
  await rm(join(folder, 'etc/resolv.conf'), { force: true })
  await writeFile(join(folder, 'etc/resolv.conf'), await readFile('/etc/resolv.conf'))
  await writeFile(join(folder, NO_SERVICES), '#!/bin/sh\nexit 101\n', { mode: 0o755 })
}

const NO_SERVICES = 'usr/sbin/policy-rc.d'

/** What differs between two builds or is of no use in a sandbox, and the user the guests run as. */
async function tidy(folder: string): Promise<void> {
  const caches = ['var/cache/apt', 'var/cache/debconf', 'var/lib/apt/lists', 'var/log', 'tmp']
  for (const path of [...caches, 'usr/share/doc', 'usr/share/man']) {
    await rm(join(folder, path), { recursive: true, force: true })
    await mkdir(join(folder, path), { recursive: true })
  }
  await run('chmod', ['1777', join(folder, 'tmp')])
  await rm(join(folder, NO_SERVICES), { force: true })
  // A sandbox is thrown away as a whole: pip may install beside Debian's packages.
  for (const name of await readdir(join(folder, 'usr/lib')))
    if (name.startsWith('python3.')) await rm(join(folder, 'usr/lib', name, 'EXTERNALLY-MANAGED'), { force: true })
  for (const path of ['etc/machine-id', 'etc/resolv.conf', 'etc/hostname']) await writeFile(join(folder, path), '')
  const passwd = 'agent:x:10001:10001::/home/agent:/bin/sh\n'
  await writeFile(join(folder, 'etc/passwd'), passwd, { flag: 'a' })
  await writeFile(join(folder, 'etc/group'), 'agent:x:10001:\n', { flag: 'a' })
  for (const path of ['workspace', 'home/agent', 'run/mesh', 'run/manyhands'])
    await mkdir(join(folder, path), { recursive: true })
}

/** Entries in the order of their names, with fixed times. Devices are the engine's to make. */
async function* tarOf(folder: string, packing: Set<ChildProcess>): AsyncGenerator<Uint8Array, void> {
  const fixed = [
    '--sort=name',
    '--mtime=@0',
    '--numeric-owner',
    '--one-file-system',
    '--format=gnu',
    '--exclude=./dev/*',
  ]
  const child = spawn('tar', [...fixed, '-C', folder, '-cf', '-', '.'], {
    stdio: sealedStdio(['ignore', 'pipe', 'ignore']),
  })
  // Who just stops reading leaves this waiting for good, and tar with it: `remove` ends it
  packing.add(child)
  child.once('close', () => packing.delete(child))
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  ended.catch(() => {})
  try {
    if (child.stdout === null) throw new MeshError('E_INTERNAL', 'A process has no pipes')
    yield* child.stdout
    if ((await ended) !== 0) throw new MeshError('E_IMAGE', 'Cannot build the image: its files could not be read')
  } finally {
    child.kill('SIGKILL')
  }
}
