/** Attacks from inside an isolate on the runtime around it (rows ISO-12 to ISO-15, ISO-17, ISO-19). Process, jail and limits are attacked elsewhere. */
import { afterEach, describe, expect, test } from 'vitest'
import { hostFunction, type GuestPort } from '../../daemon/exec/isolate/guest/host-ops.ts'
import { runOnce, TestIsolate, type TestOptions } from '../../daemon/exec/isolate/guest/test-isolate.ts'
import { GLOBALS } from '../../daemon/exec/isolate/guest/globals.ts'
import { MeshError } from '../../protocol/errors.ts'

const handler = (body: string) => `export default async function (input, env) {\n${body}\n}`
const TOUCH_ALL = `for (const name of ${JSON.stringify(Object.values(GLOBALS).flat())}) globalThis[name];`
/** Uses every library, so that whatever they do with the host function is done. */
const USE_ALL = `
  console.log('x', [1], new Map()); console.table([1]); new URL('http://a/?b=c').searchParams.append('d', 'e')
  new TextDecoder('gbk').decode(new Uint8Array([200, 200])); const d = new TextDecoder(); d.decode(new Uint8Array([226]), { stream: true }); d.decode()
  new TextEncoder().encode('é'.repeat(500)); btoa(atob('YWJj')); crypto.getRandomValues(new Uint8Array(4)); crypto.randomUUID()
  await crypto.subtle.digest('SHA-256', new Uint8Array(2)); structuredClone({ a: new Map() }); performance.now(); queueMicrotask(() => {})
  await new Promise((r) => setTimeout(r, 1)); new AbortController().abort(); new CustomEvent('x'); AbortSignal.any([AbortSignal.timeout(1)])
  await new Response(new Blob(['x']).stream().pipeThrough(new TextDecoderStream()).pipeThrough(new TextEncoderStream())).text()
  const f = new FormData(); f.append('a', new File(['x'], 'n')); await new Response(f).formData(); await fetch('http://a/').catch(() => {})
  new Intl.DateTimeFormat('en').format(); await env.echo({ a: 1 }).catch(() => {});
`
const echo: TestOptions = { hostFunctions: { echo: (x) => x } }

const UUID = /^[0-9a-f]{8}-/

describe('ISO-12 stack bombs', () => {
  test('end as typed errors, and the isolate goes on', async () => {
    const isolate = new TestIsolate(
      handler(`
      if (input === 'recurse') { const f = () => f() + 1; return f() }
      if (input === 'deep') { let a = {}; for (let i = 0; i < 20000; i++) a = { a }; return a }
      if (input === 'deep-throw') { let e = new Error('x'); for (let i = 0; i < 20000; i++) e = new Error('y', { cause: e }); throw e }
      if (input === 'deep-clone') { let a = []; for (let i = 0; i < 50000; i++) a = [a]; structuredClone(a) }
      if (input === 'deep-log') { let a = []; for (let i = 0; i < 50000; i++) a = [a]; console.log(a) }
      if (input === 'deep-call') { let a = []; for (let i = 0; i < 20000; i++) a = [a]; await env.echo(a) }
      if (input === 'toJSON') { const o = { toJSON() { return { o } } }; return o }
      if (input === 'thrown-getter') { const e = new Error(); Object.defineProperty(e, 'stack', { get() { const f = () => f(); return f() } }); throw e }
      return 'fine'`),
      echo,
    )
    try {
      expect(await isolate.load()).toBeUndefined()
      const codes: Record<string, string> = {}
      for (const input of ['recurse', 'deep', 'deep-throw', 'deep-clone', 'deep-call', 'toJSON', 'thrown-getter']) {
        const reply = await isolate.call(input)
        codes[input] = reply.ok ? 'ok' : reply.failure.code
      }
      expect(codes).toEqual({
        recurse: 'E_GUEST',
        deep: 'E_RESULT',
        'deep-throw': 'E_GUEST',
        'deep-clone': 'E_GUEST',
        'deep-call': 'E_HOST_CALL',
        toJSON: 'E_RESULT',
        'thrown-getter': 'E_GUEST',
      })
      expect(await isolate.call('deep-log')).toEqual({ ok: true, value: 'fine' })
      expect(isolate.abuses).toEqual([])
    } finally {
      isolate.dispose()
    }
  })
})

describe('ISO-13 handle leak', () => {
  /** Walks everything reachable by properties, prototypes and getters, and tries what it finds. */
  const WALK = `
    const HANDLE = ['apply', 'applySync', 'applyIgnored', 'applySyncPromise', 'copySync', 'derefInto', 'getSync', 'setSync', 'evalSync', 'evalClosureSync', 'compileScriptSync', 'compileModuleSync', 'createContextSync', 'createSnapshot', 'instantiateSync', 'evaluateSync']
    const CLASSES = ['Isolate', 'Context', 'Reference', 'ExternalCopy', 'Callback', 'NativeModule', 'Dereference', 'Script', 'Module', 'InspectorSession']
    const seen = new Set(), queue = [], bad = []
    const add = (value, path) => {
      if ((typeof value !== 'object' && typeof value !== 'function') || value === null || seen.has(value)) return
      seen.add(value); queue.push([value, path])
    }
    const walk = (roots) => {
      for (const [name, value] of roots) add(value, name)
      while (queue.length) {
        const [value, path] = queue.shift()
        add(Object.getPrototypeOf(value), path + '.__proto__')
        for (const key of Reflect.ownKeys(value)) {
          const at = path + '.' + String(key)
          if (CLASSES.includes(key) || (HANDLE.includes(key) && key !== 'apply')) bad.push(at)
          const d = Reflect.getOwnPropertyDescriptor(value, key)
          add(d.get, at + ':get'); add(d.set, at + ':set')
          if ('value' in d) add(d.value, at)
          else if (d.get) { try { const got = Reflect.apply(d.get, value, []); if (got instanceof Promise) got.catch(() => {}); add(got, at) } catch {} }
        }
        if (typeof value === 'function') {
          let text = ''
          try { text = Function.prototype.toString.call(value) } catch {}
          if (/host-ops|isolated-vm|node:|file:\\/\\/|process\\.|createHash/.test(text)) bad.push(path + ' shows host source')
          // The host function answers 'uuid'. Functions that are dangerous to call without sense are none of ours.
          if (text.includes('[native code]') && value.name === '') { try { if (/^[0-9a-f]{8}-/.test(value('uuid'))) bad.push(path + ' is the host function') } catch {} }
        }
      }
      return [bad, seen.size]
    }`

  test('no object of the host is reachable, before and after everything was used', async () => {
    const reply = await runOnce(
      `${WALK}
      const first = walk([['globalThis', globalThis]])[1]
      ${handler(`${TOUCH_ALL} ${USE_ALL}
        const roots = [['globalThis', globalThis], ['env', env], ['input', input], ['this', this], ['response', new Response('x')], ['url', new URL('http://a')], ['signal', AbortSignal.abort()], ['error', new Error('x')], ['generator', (function* () {})()], ['async', (async () => {})]]
        try { await fetch('http://a') } catch (e) { roots.push(['rejected', e]) }
        try { new URL('no') } catch (e) { roots.push(['thrown', e]) }
        const [found, count] = walk(roots)
        return { found, first, count }`)}`,
      {},
      echo,
    )
    expect(reply.ok ? reply.value : reply.failure).toMatchObject({ found: [] })
    const { first, count } = (reply as { value: { first: number; count: number } }).value
    expect(first).toBeGreaterThan(500)
    expect(count).toBeGreaterThan(first)
  })

  test('the walk does find a handle that was left lying around', async () => {
    const isolate = new TestIsolate(`${WALK}\n${handler(`return walk([['globalThis', globalThis]])[0]`)}`)
    try {
      expect(await isolate.load()).toBeUndefined()
      const port: GuestPort = { log() {}, call() {}, results() {}, wake() {}, abuse() {} }
      const { default: ivm } = await import('isolated-vm')
      await isolate.context.evalClosure('globalThis.left = { host: $0, ref: $1 }', [
        new ivm.Callback(hostFunction(port)),
        new ivm.Reference({}),
      ])
      const reply = await isolate.call(0)
      const found = JSON.stringify(reply)
      expect(found).toContain('globalThis.left.host is the host function')
      expect(found).toContain('applySync')
    } finally {
      isolate.dispose()
    }
  })

  /** Replaces what libraries are built on by spies, uses all libraries, and says how often a spy saw the host function. */
  const SPY = `
      let caught
      const describe = Object.getOwnPropertyDescriptor, keysOf = Reflect.ownKeys
      const one = (value) => { if (typeof value === 'function' && value.name === '' && native(value)) caught ??= value }
      // Only what a look at own properties shows: getters of the platform have effects.
      const suspect = (value) => {
        one(value)
        if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return
        const keys = keysOf(value)
        for (let i = 0; i < keys.length && i < 100; i++) { const d = describe(value, keys[i]); if (d) { one(d.value); one(d.get); one(d.set) } }
      }
      const native = ((toString, apply, includes) => (f) => apply(includes, apply(toString, f, []), ['[native code]']))(Function.prototype.toString, Reflect.apply, String.prototype.includes)
      const { apply } = Reflect, define = Object.defineProperty
      const spy = (owner, key) => {
        const real = owner[key]
        owner[key] = function (...args) { suspect(this); for (let i = 0; i < args.length; i++) { suspect(args[i]) } return apply(real, this, args) }
      }
      for (const key of ['call', 'apply', 'bind', 'toString', Symbol.hasInstance]) try { spy(Function.prototype, key) } catch {}
      for (const key of ['push', 'splice', 'slice', 'map', 'forEach', 'filter', 'shift', 'concat', 'indexOf', 'find', 'findIndex', 'findLastIndex', Symbol.iterator]) spy(Array.prototype, key)
      for (const [owner, keys] of [[Reflect, ['apply', 'construct', 'get']], [Object, ['assign', 'freeze', 'defineProperty', 'entries', 'keys', 'fromEntries']], [Map.prototype, ['get', 'set', 'delete']], [WeakMap.prototype, ['get', 'set']], [Promise.prototype, ['then']], [JSON, ['parse', 'stringify']]]) for (const key of keys) spy(owner, key)
      for (const key of ['host', 'realm', 'need', '0', '1', '2']) Object.defineProperty(Object.prototype, key, { set(value) { apply(define, Object, [this, key, { __proto__: null, value, writable: true, enumerable: true, configurable: true }]); suspect(value) }, get() { suspect(this); return undefined }, configurable: true })
      Error.prepareStackTrace = (error, sites) => { for (let i = 0; i < sites.length; i++) { suspect(sites[i].getFunction()); suspect(sites[i].getThis()) } return 'stack' }
      let outer
      const sloppy = new Function('return arguments.callee.caller')
      ${handler(`try { suspect(sloppy()) } catch {}
        for (const f of [sloppy, console.log]) { try { suspect(f.caller); suspect(f.arguments) } catch {} }
        ${TOUCH_ALL} try { if (globalThis.left) [0].map.call([left], (x) => x); ${USE_ALL} } catch (e) { outer = String(e) }
        return caught === undefined ? 'none' : String(caught('uuid'))`)}`

  test('replaced intrinsics never see the host function', async () => {
    expect(await runOnce(SPY, {}, echo)).toMatchObject({ ok: true, value: expect.not.stringMatching(UUID) as string })
  })

  test('the spies do see a host function that passes by them', async () => {
    const isolate = new TestIsolate(SPY, echo)
    try {
      const { default: ivm } = await import('isolated-vm')
      const port: GuestPort = { log() {}, call() {}, results() {}, wake() {}, abuse() {} }
      await isolate.context.evalClosure('globalThis.left = $0', [new ivm.Callback(hostFunction(port))])
      expect(await isolate.load()).toBeUndefined()
      const reply = await isolate.call(0)
      expect(reply).toMatchObject({ ok: true, value: expect.stringMatching(UUID) as string })
    } finally {
      isolate.dispose()
    }
  })

  test('names of the host are not there', async () => {
    const names = [
      'require',
      'process',
      'global',
      'Buffer',
      'module',
      '$0',
      '$1',
      'ivm',
      '_ivm',
      'host',
      'realm',
      'library',
      'gc',
      'WebAssembly',
      'SharedArrayBuffer',
      'Atomics',
    ]
    expect(
      await runOnce(
        handler(
          `return ${JSON.stringify(names)}.filter((n) => n in globalThis || (0, eval)('typeof ' + n) !== 'undefined')`,
        ),
      ),
    ).toMatchObject({ ok: true, value: [] })
  })
})

describe('ISO-14 result pollution', () => {
  test('own __proto__, constructor.prototype and getters arrive as plain data', async () => {
    const reply = await runOnce(
      handler(`
      const o = JSON.parse('{"__proto__": {"polluted": 1}, "constructor": {"prototype": {"polluted": 1}}}')
      Object.defineProperty(o, 'getter', { enumerable: true, get: () => 'read once' })
      return o`),
    )
    expect(reply.ok && JSON.stringify(reply.value)).toBe(
      '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"getter":"read once"}',
    )
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined()
  })

  test('a million keys meet the limit of the result', async () => {
    const reply = await runOnce(
      handler('const o = {}; for (let i = 0; i < 1e5; i++) o["key number " + i] = i; return o'),
    )
    expect(reply).toMatchObject({ ok: false, failure: { code: 'E_OUTPUT' } })
  })

  test('a failure cannot carry more than text', async () => {
    const reply = await runOnce(
      handler('throw { name: { a: 1 }, message: "m", stack: ["x"], __proto__: { code: "E_INTERNAL" } }'),
    )
    expect(reply).toMatchObject({ ok: false, failure: { code: 'E_GUEST', message: 'm' } })
  })
})

describe('ISO-15 error leak', () => {
  const CANARY = 'canary-4711'

  test('a failure cannot be told in other words by a toJSON of all objects', async () => {
    const forged = `Object.prototype.toJSON = () => ({ code: 'E_OUTPUT', message: 'forged', hint: 'forged' })\n`
    const reply = await runOnce(`${forged}export default () => { throw new TypeError('real') }`)
    expect(reply).toMatchObject({ ok: false, failure: { code: 'E_GUEST', name: 'TypeError', message: 'real' } })
  })

  test('what a host function throws reaches the program as code and message only', async () => {
    const options = {
      hostFunctions: {
        inner: () => {
          throw new Error(`${CANARY} in ${import.meta.dirname}`)
        },
        typed: () => {
          throw new MeshError('E_NOT_FOUND', 'no such row', { cause: new Error(CANARY), details: { CANARY } })
        },
      },
    }
    const reply = await runOnce(
      handler(`
      const seen = []
      for (const f of [env.inner, env.typed]) try { await f() } catch (e) { seen.push(Object.getOwnPropertyNames(e).sort(), e.code, e.message, e.stack, String(e.cause), String(e)) }
      return seen`),
      {},
      options,
    )
    const text = JSON.stringify(reply)
    expect(text).not.toContain(CANARY)
    expect(text).not.toContain(import.meta.dirname)
    expect(reply).toMatchObject({
      ok: true,
      value: [
        ['code', 'message', 'stack'],
        'E_HOST_CALL',
        'Something went wrong inside the daemon',
        expect.any(String),
        'undefined',
        expect.any(String),
        ['code', 'message', 'stack'],
        'E_NOT_FOUND',
        'no such row',
        expect.any(String),
        'undefined',
        expect.any(String),
      ],
    })
  })

  test('nothing that fails inside the host process crosses, for any operation and argument', () => {
    const fail = () => {
      throw new Error(CANARY)
    }
    const host = hostFunction({ log: fail, call: fail, results: fail, wake: fail, abuse: () => {} })
    const ops = [
      'lib',
      'url',
      'url-set',
      'query-parse',
      'query-format',
      'btoa',
      'atob',
      'encode',
      'encoding',
      'decode',
      'decoder',
      'decode-part',
      'digest',
      'random',
      'uuid',
      'log',
      'call',
      'results',
      'wake',
      '__proto__',
      'constructor',
      'toString',
      '',
      5,
      undefined,
      null,
      {},
      'x'.repeat(100),
    ]
    const values: unknown[] = [
      undefined,
      null,
      'utf-8',
      'log',
      '[',
      '[[1,2]]',
      '{"a":1}',
      '__proto__',
      -1,
      1.5,
      Number.NaN,
      2 ** 53,
      0,
      1,
      true,
      {},
      [],
      { toString: fail },
      new ArrayBuffer(2),
      new Uint8Array(2),
      'x'.repeat(70_000),
      10n,
      Symbol('x'),
    ]
    for (const op of ops)
      for (const a of values)
        for (const b of values)
          for (const c of ['x', new ArrayBuffer(1)]) {
            const answer: unknown = host(op, a, b, c)
            expect(
              ['string', 'number', 'boolean', 'undefined'].includes(typeof answer) || answer instanceof ArrayBuffer,
            ).toBe(true)
            if (typeof answer === 'string' && answer.includes(CANARY)) throw new Error(`${JSON.stringify(op)} leaks`)
          }
  })

  test('operations are bounded', () => {
    const abuses: string[] = []
    const host = hostFunction({ log() {}, call() {}, results() {}, wake() {}, abuse: (what) => abuses.push(what) })
    expect(host('encode', 'x'.repeat((16 << 20) + 1))).toBe(false)
    expect(host('digest', 'SHA-256', new ArrayBuffer((16 << 20) + 1))).toBe(false)
    expect(abuses).toEqual([])
    const ids = Array.from({ length: 100 }, () => host('decoder', 'utf-8', 0))
    expect(ids.filter((id) => id !== 0)).toHaveLength(64)
    for (const call of [
      ['random', 1e9],
      ['wake', 1e12],
      ['results', 1, true],
      ['results', 'a', true, 'x'],
      ['log', 'fatal', 'x'],
      ['nonsense'],
      ['decode-part', 999, false, new ArrayBuffer(0)],
      ['digest', 'MD5', new ArrayBuffer(0)],
    ] as const) {
      abuses.length = 0
      expect(host(...call)).toBeUndefined()
      expect(abuses, String(call[0])).toHaveLength(1)
    }
  })
})

describe('ISO-17 residue of another job', () => {
  test('what one job does to globals and prototypes is not seen by the next', async () => {
    const poison = handler(`
      Array.prototype.map = () => 'poisoned'; Object.prototype.polluted = 1; globalThis.left = 1; JSON.stringify = () => '"x"'; Date.now = () => 0
      globalThis.URL = class {}; console.log = () => {}; Promise.prototype.then = undefined; crypto.randomUUID = () => 'mine'; Intl.DateTimeFormat = null
      return 1`)
    const probe = handler(
      `console.log('seen'); return [[1].map((x) => x + 1), ({}).polluted ?? null, typeof left, Date.now() > 0, new URL('http://a/b').pathname, await Promise.resolve(1).then((x) => x), crypto.randomUUID().length, typeof Intl.DateTimeFormat]`,
    )
    const first = await Promise.all([runOnce(poison), runOnce(probe), runOnce(poison)])
    const last = await runOnce(probe)
    for (const reply of [first[1], last])
      expect(reply).toMatchObject({
        ok: true,
        value: [[2], null, 'undefined', true, '/b', 1, 36, 'function'],
        logs: ['log: seen'],
      })
  })
})

describe('ISO-19 timing channel', () => {
  let isolate: TestIsolate
  afterEach(() => isolate.dispose())

  test('no clock moves while code runs', async () => {
    let now = Date.UTC(2026, 0, 2, 3, 4, 5)
    isolate = new TestIsolate(
      handler(`
      const clocks = () => [Date.now(), new Date().getTime(), Reflect.construct(Date, []).getTime(), Date(), new (class extends Date {})().getTime(), performance.now(), performance.timeOrigin, new Intl.DateTimeFormat('en', { dateStyle: 'full', timeStyle: 'full', timeZone: 'UTC' }).format(), JSON.stringify(new Intl.DateTimeFormat('en', { timeStyle: 'full', fractionalSecondDigits: undefined, timeZone: 'UTC' }).formatToParts()), new Date().toISOString(), new Event('x').timeStamp, new File([], 'x').lastModified]
      const before = clocks()
      for (let i = 0; i < 2e6; i++);
      await 0
      const after = clocks()
      return [JSON.stringify(before) === JSON.stringify(after), before[0], before[9], before[7]]`),
      { now: () => now },
    )
    expect(await isolate.load()).toBeUndefined()
    expect(await isolate.call(0)).toEqual({
      ok: true,
      value: [
        true,
        now,
        '2026-01-02T03:04:05.000Z',
        'Friday, January 2, 2026 at 3:04:05 AM Coordinated Universal Time',
      ],
    })
    now += 1500
    expect(await isolate.call(0)).toMatchObject({
      ok: true,
      value: [true, now, '2026-01-02T03:04:06.500Z', expect.any(String)],
    })
  })

  test('the real clock cannot be found, nor shared memory made', async () => {
    isolate = new TestIsolate(
      handler(`
      const D = Date.prototype.constructor
      const other = [D === Date, new D().getTime(), Object.getOwnPropertyDescriptor(Date, 'now').value(), new (Object.getPrototypeOf(new Date()).constructor)().getTime(), Date.length, Date.name, Date.UTC(2000, 0), new Date(5).getTime(), new Date(2000, 0).getFullYear(), Date.parse('2000-01-01') > 0, new Date() instanceof Date]
      const gone = [typeof SharedArrayBuffer, typeof Atomics, typeof WebAssembly, (0, eval)('typeof SharedArrayBuffer'), new Function('return typeof Atomics')()]
      return [other, gone]`),
      { now: () => 42 },
    )
    expect(await isolate.load()).toBeUndefined()
    expect(await isolate.call(0)).toEqual({
      ok: true,
      value: [
        [true, 42, 42, 42, 7, 'Date', 946684800000, 5, 2000, true, true],
        ['undefined', 'undefined', 'undefined', 'undefined', 'undefined'],
      ],
    })
  })
})
