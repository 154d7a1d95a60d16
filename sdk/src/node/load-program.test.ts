import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { importsAnything, loadProgram } from './load-program.ts'

const containing = (text: string): unknown => expect.stringContaining(text)

describe('importsAnything()', () => {
  it.each([
    'import x from "y"',
    'import "y"',
    'import{x}from"y"',
    'import * as x from "y"',
    'import type { T } from "./t.ts"',
    'const a = 1; import b from "c"',
    'export * from "y"',
    'export { a } from "y"',
    'export type { T } from "y"',
    'export default async () => (await import("y")).z',
    '/* note */ import x from "y"',
  ])('sees %j', (source) => expect(importsAnything(source)).toBe(true))

  it.each([
    'export default (n) => n',
    'const a = 1\nexport { a }\nexport default () => import.meta',
    'const important = 1; export default () => important',
    'export const fromage = { from: 1 }; export default () => 1',
  ])('sees none in %j', (source) => expect(importsAnything(source)).toBe(false))
})

describe('loadProgram()', () => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'mh-load-'))
    await mkdir(join(folder, 'node_modules', 'left'), { recursive: true })
    await writeFile(join(folder, 'node_modules/left/package.json'), '{"name":"left","main":"index.js"}')
    await writeFile(
      join(folder, 'node_modules/left/index.js'),
      'module.exports = (n) => {\n  if (n === 0) throw new Error("zero")\n  return n - 1\n}\n',
    )
    await writeFile(join(folder, 'data.json'), '{"step":2}')
    await writeFile(join(folder, 'note.txt'), 'as text')
    await writeFile(
      join(folder, 'all.ts'),
      'import left from "left"\nimport data from "./data.json"\nimport note from "./note.txt"\nexport default (n: number) => [left(n) * data.step, note]\n',
    )
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  const file = (name: string) => join(folder, name)
  const write = async (name: string, text: string) => {
    await writeFile(file(name), text)
    return file(name)
  }

  it('sends a file without imports as it is, under its own name', async () => {
    const source = 'export default (n: number) => n\n'
    expect(await loadProgram(await write('plain.ts', source))).toEqual({ source, filename: 'plain.ts' })
    expect(await loadProgram(pathToFileURL(file('plain.ts')))).toEqual({ source, filename: 'plain.ts' })
  })

  it('bundles packages, JSON and text into one module', async () => {
    const program = await loadProgram(file('all.ts'))
    expect(program.filename).toBe('all.js')
    expect(program.source).not.toMatch(/^\s*import\s/m)
    const module = (await import(`data:text/javascript,${encodeURIComponent(program.source ?? '')}`)) as {
      default: (n: number) => unknown
    }
    expect(module.default(5)).toEqual([8, 'as text'])
  })

  it('tells a failure in terms of the files', async () => {
    const program = await loadProgram(file('all.ts'))
    const lines = (program.source ?? '').split('\n')
    const line = lines.findIndex((text) => text.includes('new Error("zero")')) + 1
    const column = (lines[line - 1] ?? '').indexOf('throw') + 1
    const stack = `Error: zero\n    at left (all.js:${line}:${column})`
    const failure = program.locate?.({ code: 'E_GUEST', message: 'zero', file: 'all.js', line, column, stack })
    expect(failure).toMatchObject({ file: 'node_modules/left/index.js', line: 2 })
    expect(failure?.frame).toContain('> 2 |   if (n === 0) throw new Error("zero")')
    expect(failure?.stack).toContain('node_modules/left/index.js:2:')
    expect(program.locate?.({ code: 'E_GUEST', message: 'x', file: 'other.js', line: 1 })).toEqual({
      code: 'E_GUEST',
      message: 'x',
      file: 'other.js',
      line: 1,
    })
  })

  it('says what cannot be imported, and where', async () => {
    const missing = loadProgram(
      await write('missing.ts', '\nimport x from "no-such-package"\nexport default () => x\n'),
    )
    await expect(missing).rejects.toMatchObject({
      code: 'E_IMPORT',
      failure: { file: 'missing.ts', line: 2 },
      hint: containing('npm install'),
    })
    const builtin = loadProgram(await write('builtin.ts', 'import fs from "node:fs"\nexport default () => fs\n'))
    await expect(builtin).rejects.toMatchObject({ code: 'E_IMPORT', hint: containing('host functions') })
    const broken = loadProgram(await write('broken.ts', 'import "./plain.ts"\nexport default (\n'))
    await expect(broken).rejects.toMatchObject({ code: 'E_SYNTAX', failure: { file: 'broken.ts', line: 3 } })
  })

  it('refuses what is no program', async () => {
    await expect(loadProgram(file('nothing.ts'))).rejects.toMatchObject({ code: 'E_NOT_FOUND' })
    await expect(loadProgram(file('data.json'))).rejects.toMatchObject({ code: 'E_BAD_REQUEST' })
    await expect(loadProgram(new URL('https://example.com/a.ts'))).rejects.toMatchObject({ code: 'E_BAD_REQUEST' })
    await expect(loadProgram(await write('big.js', ' '.repeat((4 << 20) + 1)))).rejects.toMatchObject({
      code: 'E_TOO_LARGE',
    })
  })
})
