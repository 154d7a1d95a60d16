import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ProgramInput } from '../../protocol/api.ts'
import { LIMITS } from '../../protocol/limits.ts'
import { normaliseProgram, programDigest } from './program.ts'
import { isModuleName, resolveSpecifier } from './resolve.ts'

const code = (run: () => unknown) => {
  try {
    run()
    return 'fine'
  } catch (error) {
    return (error as { code?: string }).code
  }
}
const SOURCE = 'export default () => 1'

describe('normaliseProgram', () => {
  test('takes one source, named by its file', () => {
    expect(normaliseProgram({ source: SOURCE })).toEqual({
      main: 'main.js',
      modules: [{ name: 'main.js', type: 'js', source: SOURCE }],
    })
    expect(normaliseProgram({ source: 'export default (x: number) => x', filename: '/home/me/my job.ts' })).toEqual({
      main: 'my_job.ts',
      modules: [{ name: 'my_job.ts', type: 'js', source: 'export default (x        ) => x' }],
    })
    for (const [filename, main] of [
      ['..', 'main.js'],
      ['C:\\x\\..y.mts', 'y.mts'],
      ['notes', 'notes.js'],
      ['.env', 'env.js'],
      ['a..b.ts', 'a.b.ts'],
      ['é.js', '_.js'],
    ] as const)
      expect(normaliseProgram({ source: SOURCE, filename }).main, filename).toBe(main)
  })

  test('takes several modules, sorts them and finds the main one', () => {
    const program = normaliseProgram({ modules: { 'lib/b.txt': 'text', 'main.ts': SOURCE, 'a.json': '{"a": 1}' } })
    expect(program.main).toBe('main.ts')
    expect(program.modules.map(({ name, type }) => [name, type])).toEqual([
      ['a.json', 'json'],
      ['lib/b.txt', 'text'],
      ['main.ts', 'js'],
    ])
    expect(normaliseProgram({ modules: { 'only.js': SOURCE, 'data.json': '1' } }).main).toBe('only.js')
    expect(normaliseProgram({ modules: { 'a.js': SOURCE, 'b.js': SOURCE }, main: 'b.js' }).main).toBe('b.js')
    expect(normaliseProgram({ modules: { 'a.js': SOURCE, 'index.mjs': SOURCE } }).main).toBe('index.mjs')
  })

  test.each([
    [{}],
    [{ source: SOURCE, modules: { 'a.js': SOURCE } }],
    [{ modules: {} }],
    [{ modules: { 'a.js': SOURCE, 'b.js': SOURCE } }],
    [{ modules: { 'a.json': '1' } }],
    [{ modules: { 'a.js': SOURCE }, main: 'b.js' }],
    [{ modules: { 'a.js': SOURCE, 'b.json': '1' }, main: 'b.json' }],
    [{ modules: { 'a.js': SOURCE, 'b.json': '{' } }],
    [{ modules: { '../a.js': SOURCE } }],
    [{ modules: { 'a.js': 5 as unknown as string } }],
    [{ source: 5 as unknown as string }],
    [{ source: '\ud800' }],
    [JSON.parse(`{"modules": {"__proto__": "x"}}`) as ProgramInput],
  ])('refuses %j', (input) => {
    expect(code(() => normaliseProgram(input))).toBe('E_BAD_REQUEST')
  })

  test('has limits', () => {
    expect(code(() => normaliseProgram({ source: 'é'.repeat(LIMITS.programBytes / 2 + 1) }))).toBe('E_TOO_LARGE')
    expect(
      code(() =>
        normaliseProgram({
          modules: Object.fromEntries(Array.from({ length: LIMITS.programModules + 1 }, (_, i) => [`m${i}.txt`, ''])),
        }),
      ),
    ).toBe('E_TOO_LARGE')
    expect(code(() => normaliseProgram({ modules: { [`${'a'.repeat(LIMITS.moduleNameBytes)}.js`]: SOURCE } }))).toBe(
      'E_TOO_LARGE',
    )
  })
})

describe('programDigest', () => {
  const digest = (modules: Record<string, string>, main = 'main.js') =>
    programDigest(normaliseProgram({ modules, main }))

  test('is the same whatever the order of modules', () => {
    expect(digest({ 'main.js': SOURCE, 'a.txt': 'x' })).toBe(digest({ 'a.txt': 'x', 'main.js': SOURCE }))
    expect(digest({ 'main.js': SOURCE })).toMatch(/^[0-9a-f]{64}$/)
    // written down, as receipts of other nodes hold it
    const expected = createHash('sha256')
    for (const text of ['manyhands-program/1', 'main.js', 'main.js', 'js', 'é'])
      expected.update(Buffer.from([Buffer.byteLength(text), 0, 0, 0])).update(text)
    expect(programDigest(normaliseProgram({ source: 'é' }))).toBe(expected.digest('hex'))
  })

  test('differs when anything differs', () => {
    const all = [
      digest({ 'main.js': SOURCE }),
      digest({ 'main.js': `${SOURCE} ` }),
      digest({ 'main.mjs': SOURCE }, 'main.mjs'),
      digest({ 'main.js': SOURCE, 'b.js': SOURCE }),
      digest({ 'main.js': SOURCE, 'b.js': SOURCE }, 'b.js'),
      digest({ 'main.js': SOURCE, 'b.txt': SOURCE }),
      digest({ 'main.js': SOURCE, 'a.txt': 'xb.txt' }),
      digest({ 'main.js': SOURCE, 'a.txt': 'x', 'b.txt': '' }),
    ]
    expect(new Set(all).size).toBe(all.length)
  })
})

describe('names of modules', () => {
  test.each([
    ['./a.js', 'main.js', 'a.js'],
    ['./a.js', 'lib/main.js', 'lib/a.js'],
    ['../a.js', 'lib/main.js', 'a.js'],
    ['../../a.js', 'x/y/main.js', 'a.js'],
    ['/lib/a.ts', 'x/main.js', 'lib/a.ts'],
    ['./x/./y/../a.json', 'main.js', 'x/a.json'],
    ['../a.js', 'main.js', undefined],
    ['a.js', 'main.js', undefined],
    ['lodash', 'main.js', undefined],
    ['node:fs', 'main.js', undefined],
    ['https://x/a.js', 'main.js', undefined],
    ['./a', 'main.js', undefined],
    ['.', 'main.js', undefined],
    ['', 'main.js', undefined],
    ['./a.js?x', 'main.js', undefined],
    ['main', 'main.js', undefined],
  ])('%s from %s is %s', (specifier, referrer, name) => {
    expect(resolveSpecifier(specifier, referrer)).toBe(name)
  })

  test('have a grammar that no path trick passes', () => {
    for (const name of ['a.js', 'lib/a.b.ts', '@scope/x/y.mjs', 'a-b_c~1+2.txt', 'x/y/z.json', '~a.mts'])
      expect(isModuleName(name), name).toBe(true)
    for (const name of [
      '',
      'a',
      '.js',
      '/a.js',
      'a//b.js',
      './a.js',
      '../a.js',
      'a/../b.js',
      'a\\b.js',
      'a b.js',
      '-a.js',
      '.a.js',
      'a..b.js',
      'a.js\n',
      'a:b.js',
      'a(b).js',
      'a.JS',
      'a.wasm',
      'é.js',
      'a\0.js',
      'x/.hidden/a.js',
    ])
      expect(isModuleName(name), JSON.stringify(name)).toBe(false)
  })

  test('what resolves is a name that stays inside', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom('.', '..', '/', 'a', 'b.js', '//', '\\', ' '), { maxLength: 12 }),
        (parts) => {
          const name = resolveSpecifier(parts.join(''), 'x/main.js')
          if (name !== undefined) expect(isModuleName(name)).toBe(true)
        },
      ),
    )
  })
})
