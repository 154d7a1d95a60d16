/**
 * Builds the SDK's package into sdk/dist: JavaScript, and declarations that stand alone, since the types of protocol/ which they name travel with them.
 * Nothing of protocol/ is there at run time.
 */
import { copyFile, mkdir, rm, writeFile } from 'node:fs/promises'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const source = join(root, 'sdk', 'src')
const protocol = join(root, 'protocol')
const dist = join(root, 'sdk', 'dist')
const ENTRIES = ['index.ts', 'browser.ts']

/** Where a source file's output goes, without its extension; undefined for files that are no part of the package. */
function placeOf(file: string): string | undefined {
  const stem = file.replace(/(\.d)?\.(ts|js)$/, '')
  if (stem.startsWith(`${source}/`)) return join(dist, relative(source, stem))
  if (stem.startsWith(`${protocol}/`)) return join(dist, 'protocol', relative(protocol, stem))
  return undefined
}

/** Points relative imports of a declaration at the files of the package. */
function rewriteImports(text: string, from: string, to: string): string {
  return text.replaceAll(
    /(from |import\()(['"])(\.[^'"]*)\2/g,
    (_, before: string, quote: string, specifier: string) => {
      const target = placeOf(resolve(dirname(from), specifier))
      if (target === undefined)
        throw new Error(`${relative(root, from)} names ${specifier}, which is no part of the package`)
      const path = relative(dirname(to), target)
      return `${before}${quote}${path.startsWith('.') ? path : `./${path}`}.js${quote}`
    },
  )
}

function compilerOptions(): ts.CompilerOptions {
  const read: { config?: unknown; error?: ts.Diagnostic } = ts.readConfigFile(
    join(root, 'tsconfig.json'),
    ts.sys.readFile,
  )
  if (read.error) throw new Error(ts.flattenDiagnosticMessageText(read.error.messageText, '\n'))
  const { options } = ts.parseJsonConfigFileContent(read.config, ts.sys, root)
  // Node 20 is the oldest that must run it
  return { ...options, noEmit: false, declaration: true, rootDir: root, outDir: root, target: ts.ScriptTarget.ES2022 }
}

/** Output path to text. @throws when anything does not compile */
function compile(): Map<string, string> {
  const files = new Map<string, string>()
  const program = ts.createProgram(
    ENTRIES.map((name) => join(source, name)),
    compilerOptions(),
  )
  const emitted = program.emit(undefined, (path, text) => {
    const place = placeOf(path)
    if (place === undefined) return
    if (path.endsWith('.d.ts')) files.set(`${place}.d.ts`, rewriteImports(text, path, place))
    else if (!path.startsWith(protocol)) files.set(`${place}.js`, text)
  })
  const faults = [...ts.getPreEmitDiagnostics(program), ...emitted.diagnostics]
  if (faults.length === 0) return files
  throw new Error(
    ts.formatDiagnostics(faults, {
      getCurrentDirectory: () => root,
      getCanonicalFileName: (name) => name,
      getNewLine: () => '\n',
    }),
  )
}

async function main(): Promise<void> {
  const files = compile()
  await rm(dist, { recursive: true, force: true })
  for (const [path, text] of files) {
    await mkdir(dirname(path), { recursive: true })
    await writeFile(path, text)
  }
  // The package carries its licence
  await copyFile(join(root, 'LICENSE'), join(root, 'sdk', 'LICENSE'))
}

await main()
