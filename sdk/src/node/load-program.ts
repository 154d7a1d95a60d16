/** Makes a program of a file: sent as it is when it stands alone, bundled into one module when it imports anything. */
import { open } from 'node:fs/promises'
import { basename, dirname, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ManyhandsError } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import type { LoadedProgram } from '../program.ts'

export interface LoadOptions {
  /** The text, when it was read already (e.g. from standard input); `file` then only names it and its imports are found from the folder of `file`. @default read from `file` */
  readonly source?: string | undefined
}

const EXTENSIONS = /\.(ts|mts|js|mjs)$/

/**
 * @param file path or file: URL, ending in .ts .mts .js .mjs
 * @throws ManyhandsError E_NOT_FOUND, E_BAD_REQUEST, E_TOO_LARGE, and E_SYNTAX or E_IMPORT when it does not bundle
 */
export async function loadProgram(file: string | URL, options: LoadOptions = {}): Promise<LoadedProgram> {
  const path = resolve(file instanceof URL ? fromUrl(file) : file)
  const filename = basename(path)
  if (!EXTENSIONS.test(filename)) {
    throw new ManyhandsError('E_BAD_REQUEST', `Cannot run ${filename}: it is no .ts, .mts, .js or .mjs file`)
  }
  const source = options.source ?? (await readSource(path))
  if (!importsAnything(source)) return { source, filename }
  const { bundle } = await import('./bundle.ts')
  return bundle(source, filename, dirname(path))
}

/**
 * Whether the text may import another module. Comments and strings can deceive it one way only: a file is then bundled without need.
 * `import.meta` is no import.
 */
export function importsAnything(source: string): boolean {
  return (
    /(^|[;}\n]|\*\/)\s*import\s*(["'{*]|[\w$]+(\s|,|\{|\*))/.test(source) ||
    /\bimport\s*\(/.test(source) ||
    /(^|[;}\n]|\*\/)\s*export\s*(type\s*)?(\*|\{[^}]*\}\s*from\b)/.test(source)
  )
}

async function readSource(path: string): Promise<string> {
  const name = basename(path)
  const handle = await open(path, 'r').catch((error: unknown) => {
    throw new ManyhandsError('E_NOT_FOUND', `Cannot read the program ${path}: ${reason(error)}`, { cause: error })
  })
  try {
    const stat = await handle.stat()
    if (!stat.isFile()) throw new ManyhandsError('E_BAD_REQUEST', `Cannot run ${name}: it is not a file`)
    if (stat.size > LIMITS.programBytes) {
      throw new ManyhandsError(
        'E_TOO_LARGE',
        `Cannot run ${name}: it has ${stat.size} bytes, allowed are ${LIMITS.programBytes}`,
      )
    }
    return await handle.readFile('utf8')
  } finally {
    await handle.close()
  }
}

function fromUrl(url: URL): string {
  if (url.protocol === 'file:') return fileURLToPath(url)
  throw new ManyhandsError('E_BAD_REQUEST', `Cannot load a program from ${url.protocol} URLs`, {
    hint: 'Give a file: URL, or the text itself',
  })
}

function reason(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (code === 'ENOENT') return 'there is no such file'
  if (code === 'EACCES') return 'permission denied'
  return 'it cannot be opened'
}
