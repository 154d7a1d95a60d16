import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { GLOBALS } from './globals.ts'
import { TestIsolate } from './test-isolate.ts'
import { CASES, HELPERS, STANDARD, URL_SETS, URLS } from './web-platform-cases.ts'

type Run = (code: string) => Promise<unknown>
// biome-ignore lint: the same text must run on both sides
const AsyncFunction = (async () => {}).constructor as new (code: string) => () => Promise<unknown>

const here: Run = async (code) => {
  const value: unknown = await new AsyncFunction(HELPERS + code)()
  const copy: unknown = JSON.parse(JSON.stringify(value ?? null))
  return copy
}

describe('an isolate gives what the web platform gives', () => {
  let isolate: TestIsolate
  const inside: Run = async (code) => {
    const reply = await isolate.call(HELPERS + code)
    if (!reply.ok) throw new Error(`${reply.failure.message}\n${reply.failure.stack}`)
    return reply.value
  }

  beforeAll(async () => {
    isolate = new TestIsolate('const F = (async () => {}).constructor; export default (code) => new F(code)()')
    expect(await isolate.load()).toBeUndefined()
  })
  afterAll(() => {
    expect(isolate.abuses).toEqual([])
    isolate.dispose()
  })

  for (const [topic, cases] of Object.entries(CASES)) {
    test.each(cases)(`${topic}: %s`, async (code) => {
      expect(await inside(code)).toEqual(await here(code))
    })
  }

  test.each(STANDARD)('standard: %s', async (code, expected) => {
    expect(await inside(code)).toEqual(expected)
  })

  test('URL parses as Node does', async () => {
    const code = `return ${JSON.stringify(URLS)}.map(([input, base]) => {
      const u = URL.parse(input, base)
      return u === null ? [input, base, URL.canParse(input, base), name(() => new URL(input, base))] : [input, u.href, u.origin, u.protocol, u.username, u.password, u.host, u.hostname, u.port, u.pathname, u.search, u.hash, String(u), JSON.stringify(u)]
    })`
    expect(await inside(code)).toEqual(await here(code))
  })

  test('URL setters do as those of Node', async () => {
    const code = `return ${JSON.stringify(URL_SETS)}.map(([href, part, value]) => { const u = new URL(href); u[part] = value; return [part, value, u.href, u[part]] })`
    expect(await inside(code)).toEqual(await here(code))
    const invalid = `const u = new URL('http://h/'); return [name(() => { u.href = 'no' }), u.href, name(() => { 'use strict'; u.origin = 'x' })]`
    expect(await inside(invalid)).toEqual(await here(invalid))
  })

  test('every global is there under its own name', async () => {
    const names: string[] = Object.values(GLOBALS).flat()
    const found = await inside(
      `return ${JSON.stringify(names)}.map((n) => [n, typeof globalThis[n], typeof globalThis[n] === 'function' ? globalThis[n].name : n])`,
    )
    const objects = ['console', 'crypto', 'performance']
    expect(found).toEqual(names.map((name) => [name, objects.includes(name) ? 'object' : 'function', name]))
  })

  test('fetch refuses with a typed error and says what to do', async () => {
    const seen = await inside(
      `try { await fetch('https://example.com/x?token=1') } catch (e) { return [e.name, e.code, e.message, typeof e.hint, e instanceof TypeError] }`,
    )
    expect(seen).toEqual([
      'TypeError',
      'E_NETWORK_CLOSED',
      'fetch https://example.com: the network is closed to this program',
      'string',
      true,
    ])
    const uncaught = await isolate.call(`await fetch('https://example.com/')`)
    expect(uncaught).toMatchObject({
      ok: false,
      failure: { code: 'E_NETWORK_CLOSED', hint: expect.stringContaining('env.<name>()') as string },
    })
    expect(
      await inside(
        `return [await rejects(fetch('/x')), await rejects(fetch('http://a/', { signal: AbortSignal.abort() }))]`,
      ),
    ).toEqual(['TypeError', 'AbortError'])
  })
})
