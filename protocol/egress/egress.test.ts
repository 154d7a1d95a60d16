import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseClientHello } from './client-hello.ts'
import { applyCredentials, misplaced } from './credential.ts'
import { evaluate, globMatches, readingsOf, type Target } from './evaluate.ts'
import { hostMatches, parseAuthority, serviceName } from './host.ts'
import { Rule, type RuleInput } from './rule.ts'
import { Scrubber } from './scrub.ts'

let count = 0
const rule = (input: Omit<RuleInput, 'id' | 'for'> & Partial<RuleInput>): Rule =>
  Rule.parse({ id: `r${++count}`, for: ['any'], ...input })
const get = (host: string, path = '/', method = 'GET'): Target => ({ scheme: 'https', host, port: 443, method, path })
const tunnel = (host: string, port = 443): Target => ({ scheme: 'https', host, port })

describe('evaluate', () => {
  test('closed by default; an allow is for its subject, host, port, method and path only', () => {
    const rules = [rule({ for: ['agent/ci'], effect: 'allow', host: 'api.test', methods: ['get'], path: '/v1/*' })]
    const ask = (subject: { agent?: string }, target: Target) => evaluate(rules, subject, target).decision
    expect(evaluate([], { agent: 'ci' }, get('api.test')).reason).toBe('no-rule')
    expect(ask({ agent: 'ci' }, get('api.test', '/v1/x'))).toBe('allow')
    expect(ask({ agent: 'other' }, get('api.test', '/v1/x'))).toBe('deny')
    expect(ask({}, get('api.test', '/v1/x'))).toBe('deny')
    expect(ask({ agent: 'ci' }, get('api.test', '/v2/x'))).toBe('deny')
    expect(ask({ agent: 'ci' }, get('api.test', '/v1/x', 'POST'))).toBe('deny')
    expect(ask({ agent: 'ci' }, get('www.api.test', '/v1/x'))).toBe('deny')
    expect(ask({ agent: 'ci' }, { ...get('api.test', '/v1/x'), port: 8443 })).toBe('deny')
  })

  test('a matching deny wins over every allow, in any order', () => {
    const allows = [
      rule({ effect: 'allow', host: '*' }),
      rule({ effect: 'allow', host: 'a.test' }),
      rule({ effect: 'allow', host: '*.test', ports: [443] }),
    ]
    const deny = rule({ effect: 'deny', host: 'a.test' })
    fc.assert(
      fc.property(fc.shuffledSubarray([...allows, deny], { minLength: 1 }), (rules) => {
        const result = evaluate(rules, {}, get('a.test'))
        expect(result.decision).toBe(rules.includes(deny) ? 'deny' : 'allow')
        expect(result.considered.length).toBe(rules.length)
      }),
    )
  })

  test('the most specific allow applies, whatever the order', () => {
    const narrow = rule({
      effect: 'allow',
      host: 'a.x.test',
      methods: ['GET'],
      inject: [{ header: 'authorization', secret: 's' }],
    })
    const rules = [
      rule({ effect: 'allow', host: '*' }),
      rule({ effect: 'allow', host: '*.test' }),
      rule({ effect: 'allow', host: '*.x.test' }),
      rule({ effect: 'allow', host: 'a.x.test' }),
      narrow,
    ]
    fc.assert(
      fc.property(fc.shuffledSubarray(rules, { minLength: 5 }), (all) => {
        expect(evaluate(all, {}, get('a.x.test')).rule).toBe(narrow)
      }),
    )
    expect(evaluate(rules, {}, get('a.x.test', '/', 'POST')).rule).toBe(rules[3])
  })

  test('a path is allowed in every reading or not at all, denied in any', () => {
    const allow = [rule({ effect: 'allow', host: 'a.test', path: '/public/*' })]
    const deny = [rule({ effect: 'allow', host: 'a.test' }), rule({ effect: 'deny', host: 'a.test', path: '/admin*' })]
    const tricks = [
      '/public/../admin',
      '/public/%2e%2e/admin',
      '/public/..%2fadmin',
      '/public/%252e%252e/admin',
      '/public/..\\admin',
      '//admin',
      '/./admin',
      '/%61dmin',
      '/public/..%5cadmin',
    ]
    for (const path of tricks) {
      expect(evaluate(allow, {}, get('a.test', path)).decision, path).toBe('deny')
      expect(evaluate(deny, {}, get('a.test', path)).decision, path).toBe('deny')
    }
    expect(evaluate(allow, {}, get('a.test', '/public/a?x=../admin')).decision).toBe('allow')
    expect(evaluate(deny, {}, get('a.test', '/user?x=/admin')).decision).toBe('allow')
    fc.assert(
      fc.property(fc.string(), (text) => {
        expect(readingsOf(`/${text}`).length).toBeGreaterThan(0)
      }),
    )
  })

  test('a tunnel is looked into exactly when a rule needs it; opaque only where a rule says so', () => {
    const plain = rule({ effect: 'allow', host: 'a.test' })
    expect(evaluate([plain], {}, tunnel('a.test')).tunnel).toBe('pass')
    expect(evaluate([plain, rule({ effect: 'deny', host: 'a.test', path: '/x' })], {}, tunnel('a.test'))).toMatchObject(
      { decision: 'allow', tunnel: 'inspect' },
    )
    expect(
      evaluate([plain, rule({ effect: 'allow', host: 'a.test', methods: ['GET'] })], {}, tunnel('a.test')).tunnel,
    ).toBe('inspect')
    expect(
      evaluate([plain, rule({ effect: 'allow', host: 'a.test', opaque: true })], {}, tunnel('a.test')).tunnel,
    ).toBe('opaque')
    expect(evaluate([plain], {}, tunnel('a.test', 22)).decision).toBe('deny')
  })

  test('patterns', () => {
    expect(hostMatches('*.a.test', 'a.test')).toBe(false)
    expect(hostMatches('*.a.test', 'x.y.a.test')).toBe(true)
    expect(hostMatches('*.a.test', 'xa.test')).toBe(false)
    expect(hostMatches('*.a.test', '.a.test')).toBe(false)
    const naive = (pattern: string, text: string) =>
      new RegExp(
        `^${pattern
          .split('*')
          .map((part) => part.replaceAll(/[^a-z/]/g, String.raw`\$&`))
          .join('[^]*')}$`,
      ).test(text)
    const letters = fc.string({ unit: fc.constantFrom('a', 'b', '/'), maxLength: 12 })
    const glob = fc.string({ unit: fc.constantFrom('a', 'b', '/', '*'), maxLength: 8 })
    fc.assert(
      fc.property(glob, letters, (pattern, text) => {
        expect(globMatches(pattern, text)).toBe(naive(pattern, text))
      }),
      { numRuns: 1000 },
    )
  })

  test.each([
    { host: '*', inject: [{ header: 'authorization', secret: 's' }] },
    { host: '*.10.0.0.1' },
    { host: 'a b' },
    { host: 'a.test', inject: [{ header: 'host', secret: 's' }] },
    { host: 'a.test', inject: [{ header: 'transfer-encoding', secret: 's' }] },
    { host: 'a.test', opaque: true, methods: ['GET'] },
    { host: 'a.test', effect: 'deny' as const, opaque: true },
    { host: 'a.test', rewrite: { set: { 'x-a': 'b\r\nc: d' } } },
    { host: 'a.test', methods: ['GET '] },
    { host: 'a.test', ports: [0] },
    { host: 'a.test', for: ['everyone'] },
    { host: 'a.test', surplus: 1 },
  ])('no rule: %j', (input) => {
    expect(Rule.safeParse({ id: 'r', for: ['any'], effect: 'allow', ...input }).success).toBe(false)
  })
})

test.each([
  ['a.test:443', { host: 'a.test', port: 443 }],
  ['A.test.', { host: 'a.test', port: undefined }],
  ['[::1]:80', { host: '[::1]', port: 80 }],
  ['2130706433:80', { host: '127.0.0.1', port: 80 }],
  ['a@b:80', undefined],
  ['a:b:80', undefined],
  ['::1', undefined],
  ['a.test:0', undefined],
  ['a.test:70000', undefined],
  ['a.test:80/x', undefined],
  ['', undefined],
])('authority %j', (text, expected) => expect(parseAuthority(text)).toEqual(expected))

test('services are named below one suffix', () => {
  expect(serviceName('pg.service.manyhands')).toBe('pg')
  expect(serviceName('a.pg.service.manyhands')).toBeUndefined()
  expect(serviceName('.service.manyhands')).toBeUndefined()
  expect(serviceName('pg.service.manyhands.evil.test')).toBeUndefined()
})

describe('credentials', () => {
  const secrets = new Map([['gh', 'S3CRET-value+/']])
  const placeholders = { gh: 'mhp_0123456789' }

  test('are put into the named header and nowhere else', () => {
    const { headers, sensitive } = applyCredentials(
      [
        ['Authorization', 'mine'],
        ['x-a', 'b'],
      ],
      { inject: [{ header: 'authorization', secret: 'gh' }] },
      secrets,
      placeholders,
    )
    expect(headers).toEqual([
      ['x-a', 'b'],
      ['authorization', 'Bearer S3CRET-value+/'],
    ])
    expect(sensitive).toContain('S3CRET-value+/')
    expect(sensitive).toContain(encodeURIComponent('S3CRET-value+/'))
    expect(applyCredentials([], { inject: [{ header: 'x-k', secret: 'none' }] }, secrets, placeholders)).toMatchObject({
      headers: [],
      missing: ['none'],
    })
  })

  test('replace placeholders, also inside Basic authentication, in named headers only', () => {
    const basic = (password: string) => `Basic ${Buffer.from(`x:${password}`).toString('base64')}`
    const lines = [
      ['authorization', basic(placeholders.gh)],
      ['X-Token', `t ${placeholders.gh}`],
      ['cookie', placeholders.gh],
    ] as const
    const { headers, sensitive } = applyCredentials(
      lines,
      { replace: [{ secret: 'gh', headers: ['authorization', 'x-token'] }] },
      secrets,
      placeholders,
    )
    expect(headers).toEqual([
      ['authorization', basic('S3CRET-value+/')],
      ['X-Token', 't S3CRET-value+/'],
      ['cookie', placeholders.gh],
    ])
    expect(sensitive).toContain(basic('S3CRET-value+/').slice(6))
    expect(misplaced(headers, `/a?${placeholders.gh}`, placeholders)).toEqual([
      'gh in the path or query',
      'gh in cookie',
    ])
  })

  test('are scrubbed from a stream wherever it is cut, and nothing else is changed', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 60 })
    const needles = fc.array(fc.string({ unit: fc.constantFrom('a', 'b', 'c'), minLength: 2, maxLength: 5 }), {
      minLength: 1,
      maxLength: 3,
    })
    fc.assert(
      fc.property(text, needles, fc.array(fc.nat(60)), (whole, words, cuts) => {
        const scrubber = new Scrubber(words)
        const marks = [...new Set([0, ...cuts.filter((cut) => cut < whole.length), whole.length])].sort((a, b) => a - b)
        const parts = marks.slice(1).map((mark, index) => scrubber.push(Buffer.from(whole.slice(marks[index], mark))))
        const out = Buffer.concat([...parts, scrubber.end()]).toString()
        expect(out.length).toBe(whole.length)
        for (const word of words) expect(out).not.toContain(word)
        for (const [index, letter] of [...out].entries()) if (letter !== '*') expect(letter).toBe(whole[index])
        if (!words.some((word) => whole.includes(word))) expect(out).toBe(whole)
      }),
      { numRuns: 500 },
    )
  })
})

describe('client hello', () => {
  const u16 = (n: number) => [n >> 8, n & 255]
  const hello = (name: string | undefined, extra: number[] = []): Buffer => {
    const server =
      name === undefined
        ? []
        : [0, 0, ...u16(name.length + 5), ...u16(name.length + 3), 0, ...u16(name.length), ...Buffer.from(name)]
    const extensions = [...extra, ...server]
    const body = [
      3,
      3,
      ...Array.from({ length: 32 }, () => 7),
      0,
      ...u16(2),
      19,
      1,
      1,
      0,
      ...u16(extensions.length),
      ...extensions,
    ]
    return Buffer.from([1, 0, ...u16(body.length), ...body])
  }
  const records = (message: Buffer, size: number): Buffer => {
    const out: Buffer[] = []
    for (let at = 0; at < message.length; at += size) {
      const part = message.subarray(at, at + size)
      out.push(Buffer.from([22, 3, 1, ...u16(part.length)]), part)
    }
    return Buffer.concat(out)
  }

  test('is read in any cut of records and chunks', () => {
    const whole = hello('a.test')
    for (let size = 1; size <= whole.length; size++) {
      const bytes = records(whole, size)
      for (let end = 0; end < bytes.length; end++) expect(parseClientHello(bytes.subarray(0, end)).kind).toBe('more')
      expect(parseClientHello(bytes)).toEqual({ kind: 'hello', serverName: 'a.test' })
    }
    expect(parseClientHello(records(hello(undefined), 999))).toEqual({ kind: 'hello', serverName: undefined })
  })

  test('anything else is not TLS, and no bytes throw', () => {
    expect(parseClientHello(Buffer.from('SSH-2.0-x')).kind).toBe('not-tls')
    expect(parseClientHello(Buffer.from('GET / HTTP/1.1')).kind).toBe('not-tls')
    expect(parseClientHello(records(hello('a.test', [0, 0, 0, 0]), 99)).kind).toBe('not-tls')
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => void parseClientHello(bytes)))
    fc.assert(
      fc.property(fc.nat(80), fc.nat(255), (at, value) => {
        const bytes = records(hello('a.test'), 999)
        bytes[at % bytes.length] = value
        parseClientHello(bytes)
      }),
    )
  })
})
