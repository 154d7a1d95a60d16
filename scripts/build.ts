/**
 * Bundles the daemon, the command and the processes beside them into dist/. A process then reads a few files instead of a thousand, which
 * is most of its start. Packages with native parts, and esbuild itself, stay outside and are the package's only run-time needs.
 */
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { PLUGINS } from './build/plugins.ts'

const root = fileURLToPath(new URL('..', import.meta.url))

/** Bundle name to where its program begins. Each has chunks of its own, which are loaded when they are needed. */
const PROGRAMS = { cli: 'daemon/cli/main.ts', daemon: 'daemon/main.ts' } as const
/** In one file each: the jail one runs in shows it that file and little else, and the others hold credentials or enter guests. */
const JAILED = {
  'isolate-host': 'daemon/exec/isolate/host.ts',
  'egress-proxy': 'daemon/egress/proxy/main.ts',
  'egress-listen-inside': 'daemon/egress/proxy/listen-inside.ts',
} as const

/** Not bundled, because they bring native parts. Must be `dependencies` of the published package. */
const EXTERNAL = ['esbuild', 'isolated-vm', 'oxc-transform'] as const

/** CommonJS packages inside an ES module bundle still call `require` for Node's own modules. */
const BANNER = `import{createRequire as __createRequire}from'node:module';const require=__createRequire(import.meta.url);`

/** Chunks lie beside the bundles, so a module's `import.meta.url` is always in `outdir` itself. */
async function bundleInto(
  outdir: string,
  entries: Readonly<Record<string, string>>,
  splitting: boolean,
): Promise<void> {
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: { ...entries },
    outdir,
    bundle: true,
    splitting,
    minify: true,
    format: 'esm',
    platform: 'node',
    // Before `main`: some packages' main is a wrapper whose `require` no bundler can follow.
    mainFields: ['module', 'main'],
    target: 'node24',
    external: [...EXTERNAL],
    sourcemap: 'external',
    legalComments: 'external',
    chunkNames: 'chunk-[hash]',
    banner: { js: BANNER },
    plugins: [...PLUGINS],
    metafile: true,
    logLevel: 'warning',
  })
  const native = Object.keys(metafile.inputs).filter((path) =>
    /[.]node$|node_modules\/(node-gyp-build|bindings)\//.test(path),
  )
  if (native.length > 0) {
    throw new Error(
      `Cannot bundle native modules: ${native.join(', ')}. Add their package to EXTERNAL in scripts/build.ts.`,
    )
  }
}

function assertEntries(entries: Readonly<Record<string, string>>): void {
  const missing = Object.values(entries).filter((path) => !existsSync(join(root, path)))
  if (missing.length > 0) throw new Error(`Cannot build: ${missing.join(', ')} is missing`)
}

async function bundle(outdir: string): Promise<void> {
  assertEntries({ ...PROGRAMS, ...JAILED })
  for (const [name, entry] of Object.entries(PROGRAMS)) await bundleInto(outdir, { [name]: entry }, true)
  await bundleInto(outdir, JAILED, false)
}

/** Builds aside and swaps, so that a process started meanwhile finds either the old bundles or the new ones. */
async function main(): Promise<void> {
  const cache = join(root, '.cache')
  await mkdir(cache, { recursive: true })
  const aside = await mkdtemp(join(cache, 'dist-'))
  try {
    await bundle(join(aside, 'new'))
    const dist = join(root, 'dist')
    if (existsSync(dist)) await rename(dist, join(aside, 'old'))
    await rename(join(aside, 'new'), dist)
  } finally {
    await rm(aside, { recursive: true, force: true })
  }
}

if (import.meta.main) await main()
