/**
 * `npm run pack:check`: packs the daemon and the SDK, looks at what is in the tarballs, installs each into an empty place outside the
 * clone and uses it: the command starts a node, sees it and ends it; a program with the SDK's types compiles and runs.
 */
import { spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { type Contents, contentFaults, ROOT_CONTENTS, SDK_CONTENTS } from './pack/contents.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
/** Longest for one command; an installation downloads. Milliseconds. */
const COMMAND_TIMEOUT_MS = 5 * 60_000

/** The reader's own environment: nothing of this clone's node_modules in PATH. */
function cleanEnv(home: string): NodeJS.ProcessEnv {
  const path = (process.env['PATH'] ?? '')
    .split(':')
    .filter((folder) => !folder.startsWith(root) && !folder.includes('node_modules'))
  // Which certificates count is a matter of the host, not of this clone
  const ours = /^(npm_|NODE_(?!EXTRA_CA_CERTS$)|INIT_CWD|MANYHANDS_)/i
  const kept = Object.entries(process.env).filter(([name]) => !ours.test(name))
  return { ...Object.fromEntries(kept), PATH: path.join(':'), MANYHANDS_HOME: home }
}

interface Where {
  readonly cwd: string
  readonly env: NodeJS.ProcessEnv
}

/** Standard output. Throws with everything the command said when it fails. */
function run(where: Where, command: string, ...args: readonly string[]): string {
  const done = spawnSync(command, args, {
    ...where,
    encoding: 'utf8',
    timeout: COMMAND_TIMEOUT_MS,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  if (done.status === 0) return done.stdout
  const said = [done.error?.message, done.stdout, done.stderr].filter(Boolean).join('\n')
  throw new Error(`${command} ${args.join(' ')} failed (${done.status ?? done.signal ?? 'not started'}):\n${said}`)
}

const Packed = z.object({
  filename: z.string(),
  size: z.number(),
  unpackedSize: z.number(),
  files: z.array(z.object({ path: z.string() })),
})
/** npm gives a list, or since version 12 an object by package name */
const PackOutput = z.union([z.array(Packed), z.record(z.string(), Packed).transform((byName) => Object.values(byName))])

/** Path of the tarball. */
function pack(into: string, contents: Contents, ...selector: readonly string[]): string {
  const text = run({ cwd: root, env: process.env }, 'npm', 'pack', '--json', '--pack-destination', into, ...selector)
  const [packed] = PackOutput.parse(JSON.parse(text.slice(text.search(/^[[{]/m))))
  if (!packed) throw new Error('npm pack made nothing')
  const faults = contentFaults(
    packed.files.map(({ path }) => path),
    contents,
  )
  if (faults.length > 0) throw new Error(`${packed.filename}:\n  ${faults.join('\n  ')}`)
  say(
    `${packed.filename}: ${packed.files.length} files, ${(packed.size / 1e6).toFixed(2)} MB packed, ${(packed.unpackedSize / 1e6).toFixed(2)} MB unpacked`,
  )
  return join(into, packed.filename)
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

async function version(): Promise<string> {
  const text: unknown = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))
  return z.object({ version: z.string() }).parse(text).version
}

/** Installs the daemon's tarball as a user would and lets one node live. */
async function useDaemon(scratch: string, tarball: string): Promise<void> {
  const prefix = join(scratch, 'prefix')
  const where = { cwd: scratch, env: cleanEnv(join(scratch, 'home')) }
  run(where, 'npm', 'install', '--global', '--ignore-scripts', '--no-audit', '--no-fund', '--prefix', prefix, tarball)
  const manyhands = join(prefix, 'bin', 'manyhands')
  const shown = run(where, manyhands, 'version').trim()
  if (!shown.includes(await version())) throw new Error(`manyhands version says "${shown}"`)
  say(`manyhands version: ${shown}`)
  run(where, manyhands, 'up', '--detach')
  try {
    const status: unknown = JSON.parse(run(where, manyhands, 'status', '--json'))
    say(`manyhands up, status: ${JSON.stringify(status).slice(0, 160)}`)
    const program = join(scratch, 'twice.ts')
    await writeFile(program, 'export default (n: number): number => n * 2\n')
    await writeFile(join(scratch, 'input.json'), '21')
    const out = run(where, manyhands, 'run', program, '--input', join(scratch, 'input.json'))
    if (!/\b42\b/.test(out)) throw new Error(`manyhands run says "${out}", not 42`)
    say('manyhands run: 42')
  } finally {
    run(where, manyhands, 'down')
  }
}

const CONSUMER = `import { connect } from '@manyhands/sdk'

const kind: string = typeof connect
if (kind !== 'function') throw new Error(kind)
`

/** Installs the SDK's tarball into an empty project: it brings nothing along, its types compile strictly, it loads. */
async function useSdk(scratch: string, tarball: string): Promise<void> {
  const project = join(scratch, 'project')
  await mkdir(project)
  await writeFile(join(project, 'package.json'), JSON.stringify({ name: 'consumer', private: true, type: 'module' }))
  await writeFile(join(project, 'main.ts'), CONSUMER)
  const where = { cwd: project, env: cleanEnv(join(scratch, 'home')) }
  run(where, 'npm', 'install', '--ignore-scripts', '--no-audit', '--no-fund', tarball)
  const brought = run(where, 'npm', 'ls', '--all', '--parseable').trim().split('\n').length - 1
  if (brought !== 1) throw new Error(`The SDK brings ${brought - 1} packages along; it must bring none`)
  const tsc = join(root, 'node_modules/typescript/bin/tsc')
  const compilerOptions = {
    strict: true,
    noEmit: true,
    module: 'nodenext',
    target: 'es2024',
    lib: ['es2024', 'dom'],
    types: [],
  }
  await writeFile(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['main.ts'] }))
  run(where, process.execPath, tsc)
  run(where, process.execPath, 'main.ts')
  say('@manyhands/sdk: alone, compiles with its types, loads')
}

async function main(): Promise<void> {
  const scratch = await mkdtemp(join(tmpdir(), 'manyhands-pack-'))
  try {
    await useDaemon(scratch, pack(scratch, ROOT_CONTENTS))
    await useSdk(scratch, pack(scratch, SDK_CONTENTS, '--workspace', 'sdk'))
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}

if (import.meta.main) {
  await main().catch((error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
    process.exitCode = 1
  })
}
