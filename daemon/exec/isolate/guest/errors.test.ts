import { describe, expect, test } from 'vitest'
import type { JobFailure, Program } from '../../../../protocol/job.ts'
import { failureFromRaw, failureFromThrown } from './errors.ts'
import { runOnce, singleModule } from './test-isolate.ts'

async function fails(program: Program | string, input?: unknown): Promise<JobFailure> {
  const reply = await runOnce(program, input)
  if (reply.ok) throw new Error(`it did not fail: ${JSON.stringify(reply.value)}`)
  return reply.failure
}
const modules = (sources: Record<string, string>, main = 'main.js'): Program => ({
  main,
  modules: Object.entries(sources).map(([name, source]) => ({
    name,
    type: name.endsWith('.json') ? 'json' : name.endsWith('.txt') ? 'text' : 'js',
    source,
  })),
})
const handler = (body: string) => `export default async function (input, env) {\n  ${body}\n}\n`

describe('positions in the source of the program', () => {
  test('of a syntax error', async () => {
    expect(await fails('let a = 1\nlet b = = 2\n')).toEqual({
      code: 'E_SYNTAX',
      message: "Unexpected token '='",
      name: 'SyntaxError',
      file: 'main.js',
      line: 2,
      column: 9,
      frame: '  1 | let a = 1\n> 2 | let b = = 2\n    |         ^\n  3 |',
    })
  })

  test('of a syntax error in another module', async () => {
    expect(
      await fails(modules({ 'main.js': 'import "./lib/x.js"; export default () => 1', 'lib/x.js': '\n\n  return 5' })),
    ).toMatchObject({ code: 'E_SYNTAX', file: 'lib/x.js', line: 3, column: 3 })
  })

  test('of an import that nothing answers', async () => {
    const failure = await fails(
      modules({
        'main.js': "import a from './a.js'\nimport {\n  b,\n} from 'lodash'\nexport default () => b",
        'a.js': 'export default 1',
      }),
    )
    expect(failure).toMatchObject({
      code: 'E_IMPORT',
      message: 'main.js imports "lodash", which is no module of the program',
      file: 'main.js',
      line: 4,
      column: 8,
    })
    expect(failure.hint).toContain('bundled on the calling side')
  })

  test('of a name that the other module does not export', async () => {
    const failure = await fails(
      modules({
        'main.js': "import { one,\n  two } from './a.js'\nexport default () => two",
        'a.js': 'export const one = 1',
      }),
    )
    expect(failure).toMatchObject({ code: 'E_IMPORT', file: 'main.js', line: 2, column: 3 })
    expect(failure.message).toBe("The requested module './a.js' does not provide an export named 'two'")
  })

  test('of an error at the top level, and after an await', async () => {
    expect(await fails('\nfunction f() { null.x }\nf()')).toMatchObject({
      code: 'E_GUEST',
      name: 'TypeError',
      file: 'main.js',
      line: 2,
      column: 21,
      stack: '    at f (main.js:2:21)\n    at main.js:3:1',
    })
    expect(await fails('await 1\n  throw new RangeError("later")')).toMatchObject({
      code: 'E_GUEST',
      name: 'RangeError',
      message: 'later',
      line: 2,
      column: 9,
    })
  })

  test('of an error in a call', async () => {
    const failure = await fails(
      modules({
        'main.js': `import { f } from './f.js'\n${handler('await 0; return f(input)')}`,
        'f.js': 'export const f = (x) => x.missing.deep',
      }),
      {},
    )
    expect(failure).toMatchObject({ code: 'E_GUEST', name: 'TypeError', file: 'f.js', line: 1, column: 35 })
    expect(failure.stack?.split('\n')).toEqual([
      '    at f (f.js:1:35)',
      expect.stringMatching(/^ {4}at default \(main\.js:3:\d+\)$/),
    ])
    expect(failure.frame).toContain('> 1 | export const f')
  })

  test('of a main module without the right default', async () => {
    expect(await fails('export const main = () => 1')).toMatchObject({
      code: 'E_IMPORT',
      message: 'The main module must export a function as its default: it has none',
      file: 'main.js',
    })
    expect((await fails('module.exports = 1')).hint).toContain('ES modules')
    expect((await fails('export default { fetch() {} }')).message).toContain('it is object')
    expect((await fails('export default null')).message).toContain('it is null')
  })
})

describe('whatever is thrown becomes a bounded failure', () => {
  test.each([
    ['throw 5', 'Thrown: 5'],
    ['throw null', 'Thrown: null'],
    ['throw undefined', 'Thrown: undefined'],
    ['throw { a: 1 }', 'Thrown: Object'],
    ['throw Symbol("s")', 'Thrown: Symbol(s)'],
    ['throw { message: "own" }', 'own'],
    ['throw { get message() { throw 1 } }', 'The program threw something that cannot be read'],
    ['throw new Proxy({}, { get() { throw 1 } })', 'The program threw something that cannot be read'],
    ['throw { message: { toString() { return "x" } } }', 'Thrown: Object'],
  ])('in a call: %s', async (code, message) => {
    expect(await fails(handler(code))).toMatchObject({ code: 'E_GUEST', message })
  })

  test.each([
    ['throw 5', 'Thrown: 5'],
    ['throw null', 'Thrown: null'],
    ['throw { a: 1 }', 'Thrown: an object that is not an Error'],
  ])('at the top level: %s', async (code, message) => {
    expect(await fails(code)).toMatchObject({ code: 'E_GUEST', message })
  })

  test('long messages, names and stacks are cut', async () => {
    const failure = await fails(
      handler(
        `const e = new Error('m'.repeat(1e6)); e.name = 'N'.repeat(1e6); e.stack = '    at f (main.js:1:1)\\n'.repeat(1e5); throw e`,
      ),
    )
    expect(JSON.stringify(failure).length).toBeLessThan(12_000)
    const top = await fails(`const e = new Error('m'.repeat(1e6)); throw e`)
    expect(JSON.stringify(top).length).toBeLessThan(12_000)
  })

  test('a program cannot choose its code, nor a place outside of itself', async () => {
    const failure = await fails(
      handler(
        `throw Object.assign(new Error('x'), { code: 'E_DEADLINE', hint: 'run rm -rf', stack: 'Error\\n    at f (/etc/passwd:1:2)\\n    at g (file:///host/daemon.ts:3:4)' })`,
      ),
    )
    expect(failure).toEqual({ code: 'E_GUEST', name: 'Error', message: 'x' })
  })

  test('nothing of the host is shown, whatever the raw text holds', () => {
    const program = singleModule('export default () => 1')
    for (const raw of [
      '',
      'null',
      '[]',
      '{',
      '{"message":5}',
      '{"code":"__proto__","message":"x"}',
      '{"stack":{"a":1},"message":"x"}',
    ]) {
      expect(failureFromRaw(raw, program)).toMatchObject({
        code: expect.stringMatching(/^E_(GUEST|HOST_CALL)$/) as string,
        message: expect.any(String) as string,
      })
    }
    const inner = new Error('ENOENT /root/secret')
    expect(JSON.stringify(failureFromThrown(inner, program, 'link'))).not.toContain('secret')
    expect(JSON.stringify(failureFromThrown(inner, program, 'compile'))).not.toContain('secret')
    expect(JSON.stringify(failureFromThrown(inner, program, 'evaluate'))).not.toContain(import.meta.dirname)
  })
})

describe('results', () => {
  test.each([
    ['return undefined', null],
    ['', null],
    ['return { a: undefined, b: () => 1, c: [undefined] }', { c: [null] }],
    ['return { toJSON() { return 7 } }', 7],
    ['return new Date(0)', '1970-01-01T00:00:00.000Z'],
    ['return {}', {}],
    ['return Object.create(null)', {}],
    ['return Promise.resolve(Promise.resolve(3))', 3],
  ])('JSON: %s', async (code, value) => {
    expect(await runOnce(handler(code))).toMatchObject({ ok: true, value })
  })

  test.each([
    ['return () => 1', 'a function', 'call the function'],
    ['return Symbol("x")', 'a symbol', 'Return a string'],
    ['return 5n', 'BigInt', 'Number(value)'],
    ['return { deep: [1n] }', 'BigInt', 'Number(value)'],
    ['const a = {}; a.a = a; return a', 'circular', 'leads back'],
    ['return new Map([[1, 2]])', 'a Map', 'Object.fromEntries'],
    ['return new Set([1])', 'a Set', '[...set]'],
    ['return new Response("x")', 'a Response', 'response.json()'],
    ['return { toJSON() { throw new Error("mine") } }', 'mine', 'plain data'],
    ['let a = []; for (let i = 0; i < 200; i++) a = [a]; return a', 'nested deeper than 128', 'flatter'],
  ])('not JSON: %s', async (code, message, hint) => {
    const failure = await fails(handler(code))
    expect(failure.code).toBe('E_RESULT')
    expect(failure.message).toContain(message)
    expect(failure.hint).toContain(hint)
  })

  test('too long', async () => {
    expect(await fails(handler('return "x".repeat(2e6)'))).toMatchObject({
      code: 'E_OUTPUT',
      message: 'The result has 2000002 bytes: the limit is 1048576',
    })
  })
})

describe('hints for common mistakes', () => {
  test.each([
    [handler('const fs = require("fs")'), 'ES modules'],
    [handler('return process.env.HOME'), 'no process'],
    [handler('return Buffer.from("x")'), 'Uint8Array'],
    [handler('return fs.readFileSync("x")'), 'no files'],
    [handler('window.alert(1)'), 'no page'],
    [handler('return input.items.map((x) => x)'), 'shape of input'],
    [handler('const f = async () => [1]; return f().map((x) => x)'), 'put await before'],
    [handler('const f = async () => [1]; for (const x of f()) x'), 'put await before'],
    [handler('return env.search("x")'), 'no host function "search"'],
    [handler('return JSON.parse({})'), 'input arrives parsed'],
    [handler('await import("./x.js")'), 'import at the top'],
    [handler('const f = () => f(); f()'), 'calls itself'],
    [handler('return WebAssembly.compile'), 'switched off'],
    ['return 5', 'export default async function'],
    ['export default function (input: string): number { return 1 }', '.ts'],
    ['interface A { x: number }\nexport default () => 1', '.ts'],
    ['export default function () { await 1 }', 'async'],
    ['import fs from "node:fs"; export default () => 1', 'Node modules do not exist'],
    ['import x from "https://esm.sh/x"; export default () => 1', 'not fetched'],
    ['import x from "./x.js"; export default () => 1', 'Add the module'],
    ['export const handler = () => 1', 'export default async function'],
  ])('%s', async (source, hint) => {
    expect((await fails(source)).hint).toContain(hint)
  })

  test('an ordinary error has none', async () => {
    expect(await fails(handler('throw new Error("mine")'))).not.toHaveProperty('hint')
  })
})
