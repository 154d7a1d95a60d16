import { describe, expect, test } from 'vitest'
import { MeshError } from '../../protocol/errors.ts'
import { runOnce } from '../exec/isolate/guest/test-isolate.ts'
import { normaliseProgram } from './program.ts'
import { stripTypes } from './strip-types.ts'

describe('stripTypes', () => {
  test('puts blanks where types were, so that positions stay', () => {
    const source = `interface A { x: number }\nexport default async (input: A, env?: unknown): Promise<number> => {\n  return (input.x as number)!.toFixed().length satisfies number\n}\n`
    const { code, positions } = stripTypes('main.ts', source)
    expect(positions).toBe('kept')
    expect(code.length).toBe(source.length)
    expect(code.indexOf('toFixed')).toBe(source.indexOf('toFixed'))
    expect(code).not.toContain('interface')
  })

  test.each([
    ['enum Color { Red = 1 }\nexport default () => Color.Red', 1],
    ['namespace N { export const a = 2 }\nexport default () => N.a', 2],
    ['class P { constructor(private x: number) {} get() { return this.x } }\nexport default () => new P(3).get()', 3],
  ])('transforms what needs code of its own: %s', async (source, value) => {
    expect(stripTypes('main.ts', source).positions).toBe('moved')
    expect(await runOnce(normaliseProgram({ source, filename: 'main.ts' }))).toMatchObject({ ok: true, value })
  })

  test('says where a source is no TypeScript, in the units of an editor', () => {
    try {
      stripTypes('lib/é.ts'.replace('é', 'e'), "const ok = 'é😀'\nlet x: = 1\n")
      throw new Error('it did parse')
    } catch (error) {
      expect(error).toBeInstanceOf(MeshError)
      const { code, message, details } = error as MeshError
      expect(code).toBe('E_SYNTAX')
      expect(message).toBe('lib/e.ts:2:8: Unexpected token')
      expect(details?.failure).toMatchObject({
        code: 'E_SYNTAX',
        name: 'SyntaxError',
        file: 'lib/e.ts',
        line: 2,
        column: 8,
        frame: expect.stringContaining('> 2 | let x: = 1\n    |        ^') as string,
      })
    }
  })

  test('an error in a stripped module shows the place in its source', async () => {
    const source = 'type T = { deep: { x: number } }\nexport default (input: T): number => (input as T).deep.x'
    const reply = await runOnce(normaliseProgram({ source, filename: 'job.ts' }), {})
    expect(reply).toMatchObject({
      ok: false,
      failure: { file: 'job.ts', line: 2, column: (source.split('\n')[1]?.indexOf('.x') as number) + 2 },
    })
  })
})
