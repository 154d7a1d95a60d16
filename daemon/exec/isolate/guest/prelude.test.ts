import { afterEach, describe, expect, test } from 'vitest'
import { MeshError } from '../../../../protocol/errors.ts'
import { TestIsolate, type TestOptions } from './test-isolate.ts'

const open: TestIsolate[] = []
async function load(source: string, options?: TestOptions): Promise<TestIsolate> {
  const isolate = new TestIsolate(source, options)
  open.push(isolate)
  expect(await isolate.load()).toBeUndefined()
  return isolate
}
afterEach(() => {
  for (const isolate of open.splice(0)) {
    expect(isolate.abuses).toEqual([])
    isolate.dispose()
  }
})

describe('calls', () => {
  test('get their input and the environment, may overlap, and are answered each once', async () => {
    const isolate = await load(
      'export default async ({ n, wait }, env) => { if (wait) await new Promise((r) => setTimeout(r, wait)); return [n, Object.keys(env), Object.isFrozen(env)] }',
    )
    const replies = await isolate.callAll([{ n: 1, wait: 20 }, { n: 2 }, { n: 3, wait: 1 }])
    expect(replies.map((reply) => reply.ok && reply.value)).toEqual([1, 2, 3].map((n) => [n, [], true]))
  })

  test('that end in one round of microtasks are answered in one message', async () => {
    const isolate = await load(
      'export default async (n) => { await 0; await 0; if (n % 2) throw new Error("odd"); return n }',
    )
    const replies = await isolate.callAll(Array.from({ length: 64 }, (_, n) => n))
    expect(replies.filter((reply) => reply.ok)).toHaveLength(32)
    expect(isolate.batches).toEqual([64])
  })

  test('however many that are', async () => {
    const isolate = await load('export default (n) => n')
    for (let count = 1; count <= 600; count++) {
      const replies = await isolate.callAll(Array.from({ length: count }, (_, n) => n))
      expect(replies.every((reply, n) => reply.ok && reply.value === n)).toBe(true)
    }
    expect(isolate.batches).toEqual(Array.from({ length: 600 }, (_, n) => n + 1))
  })

  test('as many as may be open can end in one round of microtasks', async () => {
    const isolate = await load(
      'const parked = []; export default (n) => n ? new Promise((r) => parked.push(r)) : parked.forEach((r) => r(1))',
    )
    const parked = Array.from({ length: 128 }, () => isolate.callAll(Array.from({ length: 512 }, () => 1)))
    await isolate.call(0)
    const replies = (await Promise.all(parked)).flat()
    expect(replies.filter((reply) => reply.ok && reply.value === 1)).toHaveLength(65_536)
  })

  test('keep the state of their module, as a session does', async () => {
    const isolate = await load('let n = 0; export default () => ++n')
    expect([await isolate.call(0), await isolate.call(0)]).toEqual([
      { ok: true, value: 1 },
      { ok: true, value: 2 },
    ])
  })

  test('survive a program that replaced what they are built on', async () => {
    const isolate = await load(
      `
      JSON.parse = JSON.stringify = Reflect.apply = Object.defineProperty = globalThis.eval = () => { throw new Error('replaced') }
      Promise.prototype.then = Map.prototype.get = Map.prototype.set = WeakMap.prototype.get = Function.prototype.call = Function.prototype.apply = () => { throw new Error('replaced') }
      Array.prototype[Symbol.iterator] = Array.prototype.push = String.prototype.charCodeAt = () => { throw new Error('replaced') }
      globalThis.Promise = globalThis.Map = globalThis.Error = undefined
      export default async (x, env) => { if (x === 2) throw 'two'; return [x, await env.twice(x)] }`,
      { hostFunctions: { twice: (x) => Number(x) * 2 } },
    )
    expect(await isolate.callAll([1, 2, 3])).toMatchObject([
      { ok: true, value: [1, 2] },
      { ok: false, failure: { message: 'Thrown: two' } },
      { ok: true, value: [3, 6] },
    ])
  })
})

describe('host functions', () => {
  test('take and return JSON, in parallel', async () => {
    const isolate = await load(
      'export default async (n, env) => Promise.all(Array.from({ length: n }, (_, i) => env.square(i, { i })))',
      { hostFunctions: { square: (i) => Number(i) ** 2 } },
    )
    expect(await isolate.call(5)).toEqual({ ok: true, value: [0, 1, 4, 9, 16] })
    const nothing = await load(
      'export default async (_, env) => [await env.none() === undefined, env.none.name, typeof env.other, env.none === env.none]',
      { hostFunctions: { none: () => undefined } },
    )
    expect(await nothing.call(0)).toEqual({ ok: true, value: [true, 'none', 'undefined', true] })
  })

  test('fail as errors with code and message that the program can catch', async () => {
    const options = {
      hostFunctions: {
        deny: () => {
          throw new MeshError('E_FORBIDDEN', 'not yours')
        },
      },
    }
    const isolate = await load(
      'export default async (caught, env) => { try { return await env.deny() } catch (e) { if (!caught) throw e; return [e instanceof Error, e.code, e.message] } }',
      options,
    )
    expect(await isolate.call(true)).toEqual({ ok: true, value: [true, 'E_FORBIDDEN', 'not yours'] })
    expect(await isolate.call(false)).toMatchObject({
      ok: false,
      failure: { code: 'E_HOST_CALL', message: 'not yours' },
    })
  })

  test('refuse arguments that are not JSON or too long, before they leave the isolate', async () => {
    const isolate = await load(
      'export default async (kind, env) => env.f(kind === "big" ? 5n : kind === "long" ? "x".repeat(5000) : (() => { const a = {}; a.a = a; return a })())',
      { hostFunctions: { f: () => 1 }, config: { hostCallBytes: 1000 } },
    )
    expect(await isolate.call('big')).toMatchObject({
      ok: false,
      failure: {
        code: 'E_HOST_CALL',
        message: expect.stringContaining('env.f() was called with something that is not JSON') as string,
      },
    })
    expect(await isolate.call('cycle')).toMatchObject({ ok: false, failure: { code: 'E_HOST_CALL' } })
    expect(await isolate.call('long')).toMatchObject({ ok: false, failure: { code: 'E_CALL_BUDGET' } })
  })

  test('may have any name', async () => {
    const isolate = await load(
      'export default async (_, env) => [await env.__proto__(1), await env.then(2), await env["a b"](3)]',
      { hostFunctions: Object.fromEntries(['__proto__', 'then', 'a b'].map((name) => [name, (x: unknown) => x])) },
    )
    expect(await isolate.call(0)).toEqual({ ok: true, value: [1, 2, 3] })
  })
})

describe('timers', () => {
  test('are bounded in number, and freed by clearing', async () => {
    const isolate = await load(`export default () => {
      const ids = []
      try { for (;;) ids.push(setTimeout(() => {}, 1e6)) } catch (e) { ids.forEach(clearTimeout); return [ids.length, e.name, typeof setInterval(() => {}, 1e6)] }
    }`)
    expect(await isolate.call(0)).toEqual({ ok: true, value: [1024, 'RangeError', 'number'] })
  })

  test('use one timer of the host, for the earliest', async () => {
    let now = 1000
    const isolate = await load(
      'export default () => { setTimeout(() => {}, 5e6); const a = setTimeout(() => {}, 3e6); setTimeout(() => {}, 4e6); clearTimeout(a); return Date.now() }',
      { now: () => now++ },
    )
    await isolate.call(0)
    expect(isolate.wakes).toEqual([5e6, 3e6, 4e6])
    const cleared = await load('export default () => { clearInterval(setInterval(() => {}, 1000)) }')
    await cleared.call(0)
    expect(cleared.wakes).toEqual([1000, -1])
  })

  test('that throw are reported and do not stop the others', async () => {
    const isolate = await load(
      'export default () => new Promise((r) => { setTimeout(() => { throw new Error("in timer") }, 0); setTimeout(r, 1) })',
    )
    expect(await isolate.call(0)).toEqual({ ok: true, value: null })
    expect(isolate.logs[0]).toMatch(/^error: Uncaught Error: in timer/)
  })

  test('take any delay', async () => {
    const isolate = await load(
      'export default () => { for (const d of [Infinity, -Infinity, NaN, "x", {}, 1e300, -5, 2 ** 31]) clearTimeout(setTimeout(() => {}, d)) }',
    )
    expect(await isolate.call(0)).toMatchObject({ ok: true })
    expect(isolate.wakes.every((ms) => ms >= -1 && ms <= 2 ** 31 - 1)).toBe(true)
  })
})

describe('loading', () => {
  test('works with several modules of all types, and top-level await', async () => {
    const isolate = new TestIsolate({
      main: 'main.js',
      modules: [
        {
          name: 'main.js',
          type: 'js',
          source: `import data from './data/d.json'\nimport text from '/t.txt'\nimport { add } from './lib/add.js'\nconst late = await new Promise((r) => setTimeout(() => r(3), 1))\nexport default () => [data, text, add(late), new URL('http://a/b').pathname]`,
        },
        {
          name: 'lib/add.js',
          type: 'js',
          source: `import { one } from '../lib/one.js'\nexport const add = (x) => x + one`,
        },
        { name: 'lib/one.js', type: 'js', source: 'export const one = 1' },
        { name: 'data/d.json', type: 'json', source: '{"__proto__": 1, "a": "\u2028"}' },
        { name: 't.txt', type: 'text', source: 'line\n`${x}` \\' },
      ],
    })
    open.push(isolate)
    expect(await isolate.load()).toBeUndefined()
    const reply = await isolate.call(0)
    expect(JSON.stringify(reply)).toBe(
      JSON.stringify({ ok: true, value: [JSON.parse('{"__proto__": 1, "a": "\u2028"}'), 'line\n`${x}` \\', 4, '/b'] }),
    )
  })

  test('ends in the error of a module that failed after an await', async () => {
    for (const wait of ['await 0', 'await new Promise((r) => setTimeout(r, 2))']) {
      const isolate = new TestIsolate(`${wait}\nthrow new RangeError('late')\nexport default () => 1`)
      open.push(isolate)
      expect(await isolate.load()).toMatchObject({
        code: 'E_GUEST',
        name: 'RangeError',
        message: 'late',
        line: 2,
        column: 7,
      })
    }
  })

  test('logs rejected promises that nobody waits for, and goes on', async () => {
    const isolate = await load('export default () => { Promise.reject(new TypeError("lost")); return 1 }')
    expect(await isolate.call(0)).toEqual({ ok: true, value: 1 })
    await expect
      .poll(() => isolate.logs)
      .toEqual([
        expect.stringMatching(/^error: Uncaught \(in promise\) TypeError: lost\n {4}at default \(main\.js:1:\d+\)$/),
      ])
    expect(await isolate.call(0)).toEqual({ ok: true, value: 1 })
  })
})
