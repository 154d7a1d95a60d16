/**
 * An image with the tools that work needs: Git with LFS, curl, Node with npm, Python with pip, apt with dpkg. Made of this host's own programs and the libraries they
 * are linked with: no registry is asked. What this host has not is not in it either.
 */
import { execFile, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { ask, fillBusyboxRoot } from './docker-engine.ts'

const run = promisify(execFile)

const NAME = 'manyhands-test/tools:1'
const TOOLS = ['git', 'git-lfs', 'curl', 'node', 'npm', 'pip', 'apt'] as const
export type Tool = (typeof TOOLS)[number]

export interface ToolsImage {
  readonly name: string
  readonly has: ReadonlySet<Tool>
}

/** Programs and folders as they stand on this host, by tool; a tool with a missing part is left out. */
function partsOf(tool: Tool): { readonly programs: readonly string[]; readonly folders?: readonly string[] } {
  switch (tool) {
    case 'git':
      return { programs: [at('git'), '/usr/lib/git-core/git-remote-http'] }
    case 'git-lfs':
    case 'curl':
      return { programs: [at(tool)] }
    case 'node':
      return { programs: [] }
    case 'npm':
      return { programs: [], folders: [npm()] }
    case 'pip':
      return {
        programs: [python()],
        folders: [`/usr/lib/${python().split('/').at(-1)}`, '/usr/lib/python3/dist-packages/pip'],
      }
    case 'apt':
      return {
        programs: [
          'apt-get',
          'apt-config',
          'dpkg',
          'dpkg-deb',
          'dpkg-query',
          'dpkg-split',
          'tar',
          'start-stop-daemon',
          'ldconfig',
        ]
          .map(at)
          .concat(['http', 'store', 'file', 'copy'].map((method) => `/usr/lib/apt/methods/${method}`)),
        folders: ['/usr/share/dpkg'],
      }
  }
}

/** Where a program of the distribution is, whatever else PATH names. */
function at(program: string): string {
  return (
    ['/usr/bin', '/usr/sbin', '/sbin'].map((folder) => join(folder, program)).find((path) => existsSync(path)) ?? ''
  )
}

/** The folder of the package; empty when it is not where distributions put it */
function npm(): string {
  const link = at('npm')
  const folder = link === '' ? '' : dirname(dirname(realpathSync(link)))
  return folder.startsWith('/usr/') ? folder : ''
}

const python = (): string => (existsSync('/usr/bin/python3') ? realpathSync('/usr/bin/python3') : '')

const isThere = (tool: Tool): boolean => {
  const { programs, folders = [] } = partsOf(tool)
  return [...programs, ...folders].every((path) => path !== '' && existsSync(path))
}

/** @returns the image, made if the engine does not have it */
export async function makeToolsImage(socket: string): Promise<ToolsImage> {
  const has = new Set(TOOLS.filter(isThere))
  if ((await ask(socket, 'GET', `/images/${NAME}/json`)).status === 200) return { name: NAME, has }
  const parts = [...has].map(partsOf)
  const programs = parts.flatMap((part) => part.programs)
  const folders = parts.flatMap((part) => part.folders ?? [])
  const modules = has.has('pip')
    ? await sharedObjects(join(`/usr/lib/${python().split('/').at(-1)}`, 'lib-dynload'))
    : []
  const files = new Set([...programs, ...(await librariesOf([process.execPath, ...programs, ...modules]))])
  const script = [
    ...[...files].flatMap((path) => [`mkdir -p .${dirname(path)}`, `rm -f .${path}`, `cp -L ${path} .${path}`]),
    // Tests and configurations of compilers are most of what is in there
    ...folders.map(
      (folder) =>
        `mkdir -p .${dirname(folder)}; tar -C / -c --exclude=test --exclude=tests --exclude='config-*' --exclude=lib2to3 --exclude=docs --exclude=man .${folder} | tar x`,
    ),
    ...(has.has('git')
      ? ['mkdir -p usr/share/git-core/templates; ln -sf git-remote-http usr/lib/git-core/git-remote-https']
      : []),
    ...(has.has('npm') ? [`ln -sf ${npm()}/bin/npm-cli.js usr/bin/npm`] : []),
    'ln -sf ../../bin/busybox usr/bin/env',
    // This very one: it may lie in a folder of the project
    `rm -f usr/bin/node; cp -L ${process.execPath} usr/bin/node`,
    ...(has.has('pip') ? [`ln -sf ${python()} usr/bin/python3`] : []),
    ...(has.has('apt')
      ? [
          'mkdir -p etc/apt/apt.conf.d etc/apt/preferences.d var/lib/dpkg/info var/lib/dpkg/updates var/lib/dpkg/triggers var/cache/apt/archives/partial var/lib/apt/lists/partial var/log/apt etc/dpkg',
          ': > var/lib/dpkg/status; : > var/lib/dpkg/available',
        ]
      : []),
  ]
  const root = mkdtempSync(join(tmpdir(), 'mh-image-'))
  try {
    await fillBusyboxRoot(root, script)
    await importFolder(socket, root)
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
  return { name: NAME, has }
}

async function sharedObjects(folder: string): Promise<string[]> {
  const { stdout } = await run('find', [folder, '-name', '*.so'])
  return stdout.split('\n').filter((path) => path !== '')
}

async function librariesOf(programs: readonly string[]): Promise<string[]> {
  // A static program has none, which `ldd` says by failing
  const { stdout } = await run('sh', ['-c', 'for p; do ldd "$p" 2>/dev/null; done; true', 'sh', ...programs])
  return [...stdout.matchAll(/(\/\S+) \(0x/g)].map(([, path = '']) => path)
}

/** As the tar it is, piece by piece: it is large. */
async function importFolder(socketPath: string, folder: string): Promise<void> {
  const [repo = '', tag = ''] = NAME.split(':')
  const path = `/images/create?fromSrc=-&repo=${encodeURIComponent(repo)}&tag=${tag}`
  const packed = spawn('tar', ['--numeric-owner', '--owner=0', '--group=0', '-C', folder, '-cf', '-', '.'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const text = await new Promise<string>((resolve, reject) => {
    const asked = request(
      { socketPath, method: 'POST', path, headers: { 'content-type': 'application/x-tar' } },
      (answer) => {
        let said = ''
        answer.setEncoding('utf8').on('data', (part: string) => (said += part))
        answer.on('error', reject)
        answer.on('end', () => resolve(`${answer.statusCode} ${said}`))
      },
    )
    asked.on('error', reject)
    packed.on('error', reject)
    packed.stdout.pipe(asked)
  })
  if (!text.startsWith('200 ') || text.includes('"error"')) throw new Error(`The image was not taken: ${text}`)
}
