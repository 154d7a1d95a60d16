/**
 * Bundles a program with what it imports into one module, on the caller's side, so that a node needs no registry and no disk. Needs the optional peer
 * dependency esbuild. Positions in failures are translated back to the files they came from.
 */
import type { BuildFailure, Message } from 'esbuild'
import { type JobFailure, ManyhandsError } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import type { LoadedProgram } from '../program.ts'
import { isObject } from '../shape.ts'
import { codeFrame } from './code-frame.ts'
import { locator } from './locate.ts'

/** @throws ManyhandsError E_IMPORT, E_SYNTAX, E_TOO_LARGE */
export async function bundle(source: string, filename: string, folder: string): Promise<LoadedProgram> {
  const esbuild = await loadEsbuild(filename)
  const built = await esbuild
    .build({
      stdin: {
        contents: source,
        resolveDir: folder,
        sourcefile: filename,
        loader: filename.endsWith('ts') ? 'ts' : 'js',
      },
      absWorkingDir: folder,
      bundle: true,
      write: false,
      outfile: 'bundle.js',
      format: 'esm',
      platform: 'neutral',
      target: 'es2024',
      mainFields: ['module', 'main'],
      conditions: ['import', 'module', 'browser', 'default'],
      loader: { '.txt': 'text', '.md': 'text' },
      sourcemap: 'external',
      sourcesContent: true,
      charset: 'utf8',
      legalComments: 'none',
      logLevel: 'silent',
    })
    .catch((error: unknown) => {
      throw buildError(error, filename)
    })
  const code = built.outputFiles.find((file) => file.path.endsWith('bundle.js'))?.text ?? ''
  const map = built.outputFiles.find((file) => file.path.endsWith('bundle.js.map'))?.text ?? ''
  const bytes = Buffer.byteLength(code)
  if (bytes > LIMITS.programBytes) {
    throw new ManyhandsError(
      'E_TOO_LARGE',
      `Cannot run ${filename}: bundled it has ${bytes} bytes, allowed are ${LIMITS.programBytes}`,
      {
        hint: 'Import less of its packages, or run it in a sandbox',
      },
    )
  }
  const name = filename.replace(/\.\w+$/, '.js')
  return { source: code, filename: name, locate: locator(name, map) }
}

async function loadEsbuild(filename: string): Promise<typeof import('esbuild')> {
  try {
    return await import('esbuild')
  } catch (error) {
    throw new ManyhandsError(
      'E_IMPORT',
      `Cannot bundle ${filename}: it imports other modules and esbuild is not installed`,
      {
        hint: 'npm install esbuild, or give all modules as { modules, main }',
        cause: error,
      },
    )
  }
}

function isBuildFailure(error: unknown): error is BuildFailure {
  return error instanceof Error && isObject(error) && Array.isArray(error['errors'])
}

function buildError(error: unknown, filename: string): ManyhandsError {
  const message = isBuildFailure(error) ? error.errors[0] : undefined
  if (!message) return new ManyhandsError('E_IMPORT', `Cannot bundle ${filename}`, { cause: error })
  const failure = messageFailure(message)
  return new ManyhandsError(failure.code, failure.message, { hint: failure.hint, failure, cause: error })
}

function messageFailure({ text, location }: Message): JobFailure {
  const missing = /^Could not resolve "(.*)"/.exec(text)?.[1]
  const base: JobFailure =
    missing === undefined
      ? { code: 'E_SYNTAX', message: text }
      : { code: 'E_IMPORT', message: text, hint: importHint(missing) }
  if (!location) return base
  const at = { line: location.line, column: location.column + 1 }
  return {
    ...base,
    file: location.file,
    ...at,
    frame: codeFrame([location.lineText], location.line, at.line, at.column),
  }
}

function importHint(name: string): string {
  const bare = name.replace(/^node:/, '')
  if (name.startsWith('node:') || /^(fs|path|os|net|http|https|child_process|crypto|stream|util)$/.test(bare)) {
    return `Programs have web APIs only and not Node's "${bare}"; hand in what they need as input or as host functions`
  }
  return name.startsWith('.') ? 'Check the path and its extension' : `npm install ${name} where the program is`
}
