import { monitorEventLoopDelay } from 'node:perf_hooks'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createIsolateExecutor, type IsolateExecutor } from '../../daemon/exec/isolate/isolate-executor.ts'
import { codeOf, run, specOf, type SpecOptions } from './isolate-kit.ts'

const MIB = 1 << 20

let executor: IsolateExecutor
let delay: ReturnType<typeof monitorEventLoopDelay>

beforeAll(async () => {
  executor = await createIsolateExecutor()
  await executor.warm()
  delay = monitorEventLoopDelay({ resolution: 10 })
  delay.enable()
})
afterAll(() => executor.close())

interface Row {
  readonly name: string
  readonly source: string
  readonly options?: SpecOptions
  readonly code: string | readonly string[]
  readonly hostCall?: boolean
}

const WALL: SpecOptions = { limits: { wallMs: 300 } }
const MEMORY: SpecOptions = { limits: { memoryBytes: 32 * MIB } }
const CALLS: SpecOptions = { hostFunctions: ['ping'] }

const rows: readonly Row[] = [
  { name: 'ISO-01 loop', source: 'export default () => { for (;;) {} }', options: WALL, code: 'E_DEADLINE' },
  {
    name: 'ISO-01 loop while loading',
    source: 'for (;;) {}; export default () => 1',
    options: WALL,
    code: 'E_DEADLINE',
  },
  {
    name: 'ISO-01 loop, CPU limit first',
    source: 'export default () => { for (;;) {} }',
    options: { limits: { cpuMs: 150 } },
    code: 'E_CPU',
  },
  {
    name: 'ISO-02 loop after a host call',
    source: 'export default async (_, env) => { await env.ping(); for (;;) {} }',
    options: { ...CALLS, ...WALL },
    code: 'E_DEADLINE',
  },
  {
    name: 'ISO-02 microtask ping-pong',
    source: 'export default async () => { const f = () => Promise.resolve().then(f); await f() }',
    options: { limits: { wallMs: 300, memoryBytes: 1024 * MIB } },
    code: 'E_DEADLINE',
  },
  {
    name: 'ISO-03 never settles',
    source: 'export default () => new Promise(() => {})',
    options: WALL,
    code: 'E_DEADLINE',
  },
  {
    name: 'ISO-03 never loads',
    source: 'await new Promise(() => {}); export default () => 1',
    options: WALL,
    code: 'E_DEADLINE',
  },
  {
    name: 'ISO-04 huge array',
    source: 'export default () => Array(1e9).fill(0).length',
    options: MEMORY,
    code: 'E_MEMORY',
  },
  {
    name: 'ISO-04 spread string',
    source: "export default () => [...'x'.repeat(5e8)].length",
    options: MEMORY,
    code: 'E_MEMORY',
  },
  {
    name: 'ISO-06 resizable buffers',
    source: `export default () => { const kept = []
      for (let i = 0; i < 20; i++) { const b = new ArrayBuffer(1, { maxByteLength: 50e6 }); b.resize(50e6); new Uint8Array(b).fill(1); kept.push(b) }
      for (;;) kept[0].byteLength }`,
    options: MEMORY,
    code: 'E_MEMORY',
  },
  {
    name: 'ISO-06 one big buffer',
    source: 'export default () => new Uint8Array(2e9).fill(1).length',
    options: MEMORY,
    code: 'E_MEMORY',
  },
  {
    name: 'ISO-07 wasm memory',
    source: `export default () => { const kept = []; for (let i = 0; i < 10; i++) kept.push(new WebAssembly.Memory({ initial: 800 })); return kept.length }`,
    options: MEMORY,
    code: 'E_GUEST',
  },
  {
    name: 'ISO-08 native memory: Intl',
    source: `export default () => { const kept = []; for (;;) kept.push(new Intl.DateTimeFormat('de', { dateStyle: 'full' })) }`,
    options: MEMORY,
    code: 'E_MEMORY',
  },
  {
    name: 'ISO-09 host call flood, not awaited',
    source: 'export default async (_, env) => { for (let i = 0; i < 2e6; i++) env.ping(i); return 1 }',
    options: { ...CALLS, limits: { hostCalls: 500 } },
    code: 'E_CALL_BUDGET',
  },
  {
    name: 'ISO-09 host calls with large arguments',
    source: `export default async (_, env) => { const big = 'x'.repeat(1e6); for (let i = 0; i < 1000; i++) env.ping(big); return 1 }`,
    options: CALLS,
    code: 'E_CALL_BUDGET',
  },
  {
    name: 'ISO-09 log flood',
    source: `export default () => { for (;;) console.log('x'.repeat(1000)) }`,
    options: { limits: { logBytes: 100_000 } },
    code: 'E_LOG_BUDGET',
  },
  { name: 'ISO-09 output', source: `export default () => 'x'.repeat(2e6)`, code: 'E_OUTPUT' },
  {
    name: 'ISO-09 output in characters of three bytes',
    source: `export default () => '\\u20ac'.repeat(6e5)`,
    code: 'E_OUTPUT',
  },
  {
    name: 'ISO-10 BigInt power',
    source: 'export default () => { const x = 2n ** (2n ** 24n); for (;;) x * x }',
    options: { limits: { wallMs: 300, memoryBytes: 512 * MIB } },
    code: 'E_DEADLINE',
  },
  {
    name: 'ISO-10 sort of 10 million',
    source: 'export default () => { for (;;) Float64Array.from({ length: 1e7 }, Math.random).sort() }',
    options: { limits: { wallMs: 300, memoryBytes: 1024 * MIB } },
    code: 'E_DEADLINE',
  },
  {
    name: 'ISO-11 backtracking pattern',
    source: `export default () => /^(a+)+$/.test('a'.repeat(40) + 'b')`,
    options: WALL,
    code: 'E_DEADLINE',
  },
  {
    name: 'ISO-12 endless recursion',
    source: 'export default () => { const f = () => f() + 1; return f() }',
    code: 'E_GUEST',
  },
  {
    name: 'ISO-12 result nested 20,000 deep',
    source: 'export default () => { let x = {}; for (let i = 0; i < 20000; i++) x = { x }; return x }',
    code: 'E_RESULT',
  },
  {
    name: 'ISO-12 recursion in toJSON',
    source: 'export default () => ({ toJSON() { return { again: this } } })',
    code: ['E_RESULT', 'E_OUTPUT'],
  },
]

describe('limits hold, with one code each', () => {
  for (const row of rows) {
    it(`${row.name}: ${[row.code].flat().join(' or ')}`, async () => {
      const started = performance.now()
      const outcome = await run(executor, row.source, row.options, { onHostCall: async () => 'null' })
      const took = performance.now() - started
      expect([row.code].flat(), JSON.stringify(outcome)).toContain(codeOf(outcome))
      const wall = row.options?.limits?.wallMs
      if (row.code === 'E_DEADLINE' && wall !== undefined)
        expect(outcome.usage.wallMs).toBeGreaterThanOrEqual(wall * 0.9)
      expect(took).toBeLessThan(15_000)
      expect(codeOf(await run(executor, 'export default () => 1'))).toBe('ok')
    })
  }

  const shapes = {
    'Map.set': 'const m = new Map(); for (let i = 0; ; i++) m.set(i, { i })',
    'Symbol.for': 'for (let i = 0; ; i++) Symbol.for(String(i) + "x".repeat(1000))',
    strings: 'const a = []; for (let i = 0; ; i++) a.push(("y" + i).repeat(1000).split("").join("-"))',
    'typed arrays': 'const a = []; for (;;) a.push(new Uint8Array(1e6).fill(1))',
  }
  for (const [name, body] of Object.entries(shapes)) {
    it(`ISO-05 ${name}: the same code each of 5 times`, async () => {
      for (let round = 0; round < 5; round++) {
        const outcome = await run(executor, `export default () => { ${body} }`, MEMORY)
        expect(codeOf(outcome), JSON.stringify(outcome)).toBe('E_MEMORY')
      }
    })
  }

  it('ISO-01 calls made while a session is ended by a limit fail for that limit', async () => {
    const codes = new Set<string>()
    const session = await executor.open(specOf('export default (n) => n || new Promise(() => {})', WALL), {
      onReply: (_, reply) => codes.add(reply.ok ? 'ok' : reply.error.code),
    })
    session.call(0, '0')
    let next = 1
    const calling = setInterval(() => session.call(next, String(next++)), 1)
    expect((await session.ended).error?.code).toBe('E_DEADLINE')
    clearInterval(calling)
    session.call(next, '1')
    expect(codes).toEqual(new Set(['ok', 'E_DEADLINE']))
  })

  it('ISO-01 an innocent job beside a guilty one is not harmed', async () => {
    const innocent = `export default async () => { await new Promise((resolve) => setTimeout(resolve, 400)); return 'fine' }`
    const hog =
      'export default () => { const kept = []; for (;;) { const b = new ArrayBuffer(1, { maxByteLength: 5e7 }); b.resize(5e7); new Uint8Array(b).fill(1); kept.push(b) } }'
    const [first, second, third] = await Promise.all([
      run(executor, innocent),
      run(executor, hog, MEMORY),
      run(executor, innocent),
    ])
    expect([first, second, third].map(codeOf)).toEqual(['ok', 'E_MEMORY', 'ok'])
  })

  it('RES-02 the daemon stayed responsive through all of this', () => {
    delay.disable()
    expect(delay.percentile(99) / 1e6).toBeLessThan(200)
  })
})
