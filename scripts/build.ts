/**
 * Bundles the daemon, the command and the isolate host into dist/. A process then reads a few files instead of a thousand, which
 * is most of its start. Packages with native parts, and esbuild itself, stay outside and are the package's only run-time needs.
 */
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('..', import.meta.url))

/** Bundle name to where its program begins. */
export const ENTRIES = {
  cli: 'daemon/cli/main.ts',
  daemon: 'daemon/main.ts',
  'isolate-host': 'daemon/exec/isolate/host.ts',
} as const

/** Not bundled. Must be `dependencies` of the published package. */
export const EXTERNAL = ['classic-level', 'esbuild', 'isolated-vm', 'oxc-transform'] as const

/** CommonJS packages inside an ES module bundle still call `require` for Node's own modules. */
const BANNER = `import{createRequire as __createRequire}from'node:module';const require=__createRequire(import.meta.url);`

/** Writes the bundles of the entries that exist into `outdir`; chunks lie beside them, so a module's `import.meta.url` is always in `outdir` itself. */
export async function bundle(outdir: string): Promise<void> {
  const present = Object.entries(ENTRIES).filter(([, path]) => existsSync(join(root, path)))
  for (const [name, path] of Object.entries(ENTRIES)) {
    if (!present.some(([have]) => have === name))
      process.stderr.write(`build: no ${name} bundle, because ${path} is missing\n`)
  }
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: Object.fromEntries(present),
    outdir,
    bundle: true,
    splitting: true,
    minify: true,
    format: 'esm',
    platform: 'node',
    target: 'node24',
    external: [...EXTERNAL],
    sourcemap: 'external',
    legalComments: 'external',
    chunkNames: 'chunk-[hash]',
    banner: { js: BANNER },
    metafile: true,
    logLevel: 'warning',
  })
  const native = Object.keys(metafile.inputs).filter(
    (path) => path.endsWith('.node') || /node_modules\/(node-gyp-build|bindings)\//.test(path),
  )
  if (native.length > 0)
    throw new Error(
      `Cannot bundle native modules: ${native.join(', ')}. Add their package to EXTERNAL in scripts/build.ts.`,
    )
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
