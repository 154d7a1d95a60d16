/**
 * Builds the helper that runs inside sandboxes, for every processor it is shipped for, and writes `daemon/exec/sandbox/guest/agent/prebuilt.ts`.
 * Needs Debian's `gcc-x86-64-linux-gnu` and `gcc-aarch64-linux-gnu` (either may be the machine's own `gcc`). Nobody who uses or tests the project needs
 * them: the result is kept in the repository, 6 KB for each. The same compiler gives the same bytes; a test compares them where it is installed.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'

export const AGENT_FOLDER = fileURLToPath(new URL('../daemon/exec/sandbox/guest/agent', import.meta.url))
export const TARGETS = { x64: 'x86_64-linux-gnu-gcc', arm64: 'aarch64-linux-gnu-gcc' } as const
const LINE = 120

const FLAGS = [
  '-std=gnu11',
  '-Os',
  '-ffreestanding',
  '-fno-stack-protector',
  '-fno-asynchronous-unwind-tables',
  '-fno-tree-loop-distribute-patterns',
  '-fno-pic',
  '-no-pie',
  '-static',
  '-nostdlib',
  '-Wall',
  '-Wextra',
  '-Wno-sign-compare',
  '-Werror',
  '-Wl,--build-id=none,-z,noexecstack,-z,norelro,-z,noseparate-code',
  '-s',
]

const sources = (): string[] =>
  readdirSync(AGENT_FOLDER)
    .filter((name) => /[.][ch]$/.test(name))
    .sort()

/** Of all sources, so that a change without a new build is noticed. */
export function sourceHash(): string {
  const hash = createHash('sha256')
  for (const name of sources())
    hash
      .update(`${name}\0`)
      .update(readFileSync(join(AGENT_FOLDER, name)))
      .update('\0')
  return hash.digest('hex')
}

/** Version of the compiler, or undefined when it is not installed. */
export function compilerVersion(compiler: string): string | undefined {
  try {
    return execFileSync(compiler, ['--version'], { encoding: 'utf8' }).split('\n')[0]?.replace(/^\S+ /, '')
  } catch {
    return undefined
  }
}

export function buildHelper(compiler: string): Buffer {
  const folder = mkdtempSync(join(tmpdir(), 'manyhands-agent-'))
  try {
    const out = join(folder, 'agent')
    const files = sources().filter((name) => name.endsWith('.c'))
    execFileSync(compiler, [...FLAGS, '-o', out, ...files], { cwd: AGENT_FOLDER })
    return readFileSync(out)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

function literal(bytes: Buffer): string {
  const text = gzipSync(bytes, { level: 9 }).toString('base64')
  const lines = text.match(new RegExp(`.{1,${LINE - 6}}`, 'g')) ?? []
  return lines.map((line) => `'${line}'`).join(' +\n      ')
}

function write(): void {
  const entries = Object.entries(TARGETS).map(([name, compiler]) => {
    const version = compilerVersion(compiler)
    if (version === undefined) throw new Error(`Cannot build the helper for ${name}: ${compiler} is not installed`)
    const bytes = buildHelper(compiler)
    process.stdout.write(`${name}: ${bytes.length} bytes, ${version}\n`)
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    return `  ${name}: {\n    sha256: '${sha256}',\n    compiler: '${version}',\n    gzip:\n      ${literal(bytes)},\n  },\n`
  })
  const head = `/** Made by scripts/build-guest-agent.ts from the sources beside it. */\nexport const SOURCE_SHA256 = '${sourceHash()}'\n`
  writeFileSync(join(AGENT_FOLDER, 'prebuilt.ts'), `${head}\nexport const HELPERS = {\n${entries.join('')}} as const\n`)
}

if (import.meta.main) write()
