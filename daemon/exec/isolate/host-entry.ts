import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** What an isolate host runs, and the files it must be able to read. */
export interface HostEntry {
  readonly script: string
  /** Absolute folders and files */
  readonly reads: readonly string[]
  /** Everything in `reads` lies below it; inside a jail it appears under another name */
  readonly root: string
}

/** Parts of the source tree that the host's modules come from. */
const SOURCES = ['package.json', 'protocol', 'daemon/exec', 'daemon/programs']

/**
 * The host's script in both forms of this program: run from its sources, or bundled, when `isolate-host.js` lies beside the bundle.
 * isolated-vm is never bundled: it is found as any module would be from here.
 */
export function hostEntry(here: string = fileURLToPath(import.meta.url)): HostEntry {
  const folder = dirname(here)
  const bundled = join(folder, 'isolate-host.js')
  const packages = addonFolders(here)
  if (existsSync(bundled)) {
    const root = commonParent([folder, ...packages])
    const manifest = [join(folder, 'package.json'), join(folder, '..', 'package.json')].filter((file) =>
      existsSync(file),
    )
    return { script: bundled, reads: [bundled, ...manifest, ...packages], root }
  }
  const project = join(folder, '..', '..', '..')
  const sources = SOURCES.map((part) => join(project, part)).filter((path) => existsSync(path))
  return {
    script: join(folder, 'host.ts'),
    reads: [...sources, ...packages],
    root: commonParent([project, ...packages]),
  }
}

/** isolated-vm and what it loads its binary with. */
function addonFolders(from: string): string[] {
  const addon = dirname(createRequire(from).resolve('isolated-vm/package.json'))
  const loader = dirname(createRequire(join(addon, 'package.json')).resolve('node-gyp-build/package.json'))
  return [addon, loader]
}

function commonParent(paths: readonly string[]): string {
  const [first = '/', ...rest] = paths
  let parent = first
  while (parent !== '/' && !rest.every((path) => path.startsWith(`${parent}/`))) parent = dirname(parent)
  return parent
}
