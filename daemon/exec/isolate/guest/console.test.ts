import { format } from 'node:util'
import { runInThisContext } from 'node:vm'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestIsolate } from './test-isolate.ts'

/** Argument lists, as code: what the isolate logs must be what Node prints. */
const SAME = [
  `'text'`,
  `'a', 'b', 1, true, null, undefined`,
  `''`,
  `-0, 1n, Symbol('s'), NaN`,
  `['a', "it's", 'a"b\\'c', 'new\\nline']`,
  `{}`,
  `[]`,
  `{ a: 1, 'b-c': 'x', 3: [1, 2] }`,
  `{ a: { b: { c: { d: 1 } } } }`,
  `[[[[1]]]]`,
  `{ f() {}, g: () => {}, h: class A {}, i: class extends Map {}, j: async () => {}, k: function* named() {} }`,
  `new Map([['k', { v: 1 }], [{ a: 1 }, 2]])`,
  `new Set([1, 'two', [3]])`,
  `new Map()`,
  `new Set()`,
  `Object.assign([1, 2], { extra: true })`,
  `[1, , , 4]`,
  `new Array(5)`,
  `Array.from({ length: 120 }, (_, i) => i)`,
  `Array.from({ length: 30 }, (_, i) => 'item' + i)`,
  `Array.from({ length: 7 }, (_, i) => ({ i }))`,
  `new Date(0), [new Date(NaN)]`,
  `/re/g, [/x/]`,
  `new Uint8Array([1, 2, 3]), new Float64Array(2)`,
  `new ArrayBuffer(4)`,
  `Object.create(null)`,
  `Object.assign(Object.create(null), { a: 1 })`,
  `new (class Foo { x = 1 })()`,
  `new (class Foo {})()`,
  `new (class Bar extends Map {})([[1, 2]])`,
  `new (class Baz extends Array {})(3)`,
  `{ get a() { return 1 }, set a(v) {}, get b() { return 1 }, set c(v) {} }`,
  `{ [Symbol('key')]: 1 }`,
  `Object('boxed'), Object(1), Object(false)`,
  `(() => { const o = { name: 'x' }; o.self = o; return o })()`,
  `(() => { const a = []; a.push(a, { a }); return a })()`,
  `'%s is %d years and %i, %f, %j %o %O %% %c %x', 'Bob', 42.5, 42.9, '1.5', { a: 1 }, 5, { b: 2 }, 'css', 'rest'`,
  `'%s', null, undefined, 5n`,
  `'%d', '0x10', {}`,
  `'100%', 5`,
  `'%s %s', 'only'`,
  `5, '%s', 'x'`,
  `{ long1: 'aaaaaaaaaaaaaaaaaaaaaaaaa', long2: 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb', long3: 'cccccccccccccccccccccc' }`,
  `{ users: [{ id: 1, name: 'Ann', tags: ['x', 'y'] }, { id: 2, name: 'Bob', tags: [] }], total: 2, next: null }`,
  `{ a: [{ b: { c: {} } }], d: new Map([['m', new Map([['n', new Map()]])]]) }`,
  `[undefined, null, true]`,
  `[1.5, -2, 300, 4, 5, 6, 7, 8, 9, 10]`,
  `['a', 'b', 'c', 'd', 'e', 'f', 'g']`,
  `{ s: 'line one is long enough\\nline two is long enough too\\nline three', n: 1 }`,
  `'x'.repeat(10), ['y'.repeat(200)]`,
  `[function () {}, Math.max]`,
  `Object.assign(() => {}, { prop: 1 })`,
  `[1234567, 12, 123, 1, 12345, 1234, 123456, 12]`,
  `new WeakMap(), new WeakSet()`,
  `[new Error('x').message]`,
  `{ a: 1n, b: [2n] }`,
  `{ 'a b': 1, ok_1: 2, $d: 3, 'ü': 4 }`,
]

describe('console', () => {
  let isolate: TestIsolate
  const logs = async (code: string) => {
    isolate.logs.length = 0
    const reply = await isolate.call(code)
    if (!reply.ok) throw new Error(reply.failure.message)
    return [...isolate.logs]
  }
  beforeAll(async () => {
    isolate = new TestIsolate(
      'const F = (async () => {}).constructor; export default async (code) => { await new F(code)() }',
      { now: () => 1000 },
    )
    expect(await isolate.load()).toBeUndefined()
  })
  afterAll(() => isolate.dispose())

  test.each(SAME)('prints as Node does: %s', async (args) => {
    const values = runInThisContext(`[${args}]`) as unknown[]
    expect(await logs(`console.log(${args})`)).toEqual([`log: ${format(...values)}`])
  })

  test('has the levels of the log', async () => {
    expect(
      await logs(`console.debug(1); console.info(2); console.log(3); console.warn(4); console.error(5); console.log()`),
    ).toEqual(['debug: 1', 'info: 2', 'log: 3', 'warn: 4', 'error: 5', 'log: '])
  })

  test('shows errors with the frames of the program only', async () => {
    const [line] = await logs(`console.log(new TypeError('bad', { cause: 'why' }))`)
    expect(line).toMatch(/^log: TypeError: bad\n {4}at /)
    expect(line).toContain("[cause]: 'why'")
    expect(line).not.toMatch(/manyhands:|isolated-vm|file:\/\//)
    const [other] = await logs(
      `console.error('failed', Object.assign(new Error('m'), { code: 7 }), [new RangeError('r')])`,
    )
    expect(other).toContain('code: 7')
    expect(other).toContain('RangeError: r')
  })

  test('counts, times, groups, asserts and traces', async () => {
    expect(
      await logs(`console.count(); console.count(); console.count('x'); console.countReset(); console.count()`),
    ).toEqual(['log: default: 1', 'log: default: 2', 'log: x: 1', 'log: default: 1'])
    expect(
      await logs(`console.time('t'); console.timeLog('t', 5); console.timeEnd('t'); console.timeEnd('t')`),
    ).toEqual(['log: t: 0ms 5', 'log: t: 0ms', "warn: No such label 't' for console.timeEnd()"])
    expect(await logs(`console.group('g'); console.log('in\\nner'); console.groupEnd(); console.log('out')`)).toEqual([
      'log: g',
      'log:   in\n  ner',
      'log: out',
    ])
    expect(await logs(`console.assert(1, 'no'); console.assert(0, 'yes', 5); console.assert()`)).toEqual([
      'error: Assertion failed: yes 5',
      'error: Assertion failed',
    ])
    expect((await logs(`console.trace('here', 1)`))[0]).toMatch(/^error: Trace: here 1(\n {4}at |$)/)
    expect((await logs(`console.table([{ a: 1, b: 'x' }, { a: 2 }])`))[0]).toBe(
      "log: ┌─────────┬───┬─────┐\n│ (index) │ a │ b   │\n├─────────┼───┼─────┤\n│ 0       │ 1 │ 'x' │\n│ 1       │ 2 │     │\n└─────────┴───┴─────┘",
    )
    expect(await logs(`console.table(5)`)).toEqual(['log: 5'])
  })

  test('cuts a line at the limit and survives values that fight back', async () => {
    const [line = ''] = await logs(`console.log('x'.repeat(1e6))`)
    expect(Buffer.byteLength(line)).toBeLessThanOrEqual(16384 + 5)
    expect(line.endsWith('(cut)')).toBe(true)
    const [wide = ''] = await logs(`console.log('€'.repeat(16000))`)
    expect(Buffer.byteLength(wide)).toBeLessThanOrEqual(16384 + 5)
    const [big = ''] = await logs(
      `console.log(Array.from({ length: 1000 }, () => Array.from({ length: 100 }, () => ({ a: [{ b: 1 }] }))))`,
    )
    expect(big.length).toBeLessThanOrEqual(16384 + 30)
    expect(
      await logs(
        `console.log(new Proxy({}, { get() { throw 1 }, ownKeys() { throw 2 }, getPrototypeOf() { throw 3 } }))`,
      ),
    ).toEqual(['log: <a value that cannot be shown>'])
    expect(await logs(`let d = {}; for (let i = 0; i < 1e5; i++) d = { d }; console.log(d)`)).toHaveLength(1)
  })
})
