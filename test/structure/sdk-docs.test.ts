/** Every TypeScript example in the documents compiles. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { describe, expect, it } from 'vitest'

const root = join(import.meta.dirname, '..', '..')

/** The examples of a document as files beside it that exist in memory only. */
function examplesOf(document: string): Map<string, string> {
  const text = readFileSync(join(root, document), 'utf8')
  const blocks = [...text.matchAll(/^```ts\n([^]*?)^```$/gm)].map((match) => match[1] ?? '')
  return new Map(blocks.map((block, index) => [join(root, `${document}.example-${index + 1}.ts`), block]))
}

function faultsOf(examples: ReadonlyMap<string, string>): string[] {
  const options: ts.CompilerOptions = {
    target: ts.ScriptTarget.ES2024,
    lib: ['lib.es2024.d.ts', 'lib.esnext.disposable.d.ts'],
    module: ts.ModuleKind.NodeNext,
    types: ['node'],
    strict: true,
    noEmit: true,
    allowImportingTsExtensions: true,
    skipLibCheck: true,
    paths: { '@manyhands/sdk': [join(root, 'sdk/src/index.ts')] },
  }
  const host = ts.createCompilerHost(options)
  const read = host.readFile.bind(host)
  const exists = host.fileExists.bind(host)
  const source = host.getSourceFile.bind(host)
  host.readFile = (path) => examples.get(path) ?? read(path)
  host.fileExists = (path) => examples.has(path) || exists(path)
  host.getSourceFile = (path, target, ...rest) => {
    const text = examples.get(path)
    return text === undefined ? source(path, target, ...rest) : ts.createSourceFile(path, text, target)
  }
  const program = ts.createProgram([...examples.keys()], options, host)
  return ts
    .getPreEmitDiagnostics(program)
    .filter((fault) => fault.file === undefined || examples.has(fault.file.fileName))
    .map((fault) => `${fault.file?.fileName ?? ''}: ${ts.flattenDiagnosticMessageText(fault.messageText, '\n')}`)
}

describe('the examples of the SDK', () => {
  const examples = new Map([
    ...['README.md', 'sdk/README.md', 'docs/SDK.md'].flatMap((document) => [...examplesOf(document)]),
  ])

  it('are there and compile', { timeout: 120_000 }, () => {
    expect(examples.size).toBeGreaterThan(5)
    expect(faultsOf(examples)).toEqual([])
  })

  it('would not compile with a call that does not exist', { timeout: 120_000 }, () => {
    const wrong = new Map([
      [join(root, 'docs/wrong.ts'), "import { connect } from '@manyhands/sdk'\nawait (await connect()).fly()\n"],
    ])
    expect(faultsOf(wrong)).toEqual([expect.stringContaining('fly')])
  })
})
