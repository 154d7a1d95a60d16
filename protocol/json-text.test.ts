import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { LIMITS } from './limits.ts'
import { parseJsonText } from './json-text.ts'

const parse = (text: string) => parseJsonText(Buffer.from(text), 'the text')
const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth)

describe('parseJsonText()', () => {
  it('gives what JSON.parse gives', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const text = JSON.stringify(value)
        fc.pre(!text.includes('__proto__'))
        expect(parse(text)).toEqual(JSON.parse(text))
      }),
    )
  })

  it('SDK-01 answers any text with a value or E_BAD_REQUEST', () => {
    const piece = fc.constantFrom(
      '{',
      '}',
      '[',
      ']',
      '"',
      '\\',
      ':',
      ',',
      ' ',
      '1',
      'e9',
      'a',
      '\\u0041',
      '\\ud800',
      'null',
      'é',
      '\u0000',
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 40 }), (pieces) => {
        try {
          parse(pieces.join(''))
        } catch (error) {
          expect(error).toMatchObject({ code: 'E_BAD_REQUEST' })
        }
      }),
    )
  })

  it('bounds nesting, however deep, without recursing', () => {
    expect(parse(nested(LIMITS.jsonDepth))).toBeInstanceOf(Array)
    for (const depth of [LIMITS.jsonDepth + 1, 1_000_000]) expect(() => parse(nested(depth))).toThrow(/nests deeper/)
    expect(() => parse('{"a":'.repeat(200))).toThrow(/nests deeper/)
    expect(parse(`"${'['.repeat(1000)}"`)).toBe('['.repeat(1000))
  })

  it.each(['{"a":1,"a":2}', '{"a":1, "\\u0061" :2}', '{"x":{"b":1,"b":2}}'])('refuses repeated keys: %s', (text) => {
    expect(() => parse(text)).toThrow(/same key twice/)
  })

  it('allows the same key in different objects, and as a value', () => {
    expect(parse('[{"a":1},{"a":"a"},["a","a"]]')).toHaveLength(3)
  })

  it.each([
    '{"__proto__":{}}',
    '{"a":{"b":{"c":[{"__proto__":1}]}}}',
    '{"\\u005f_proto__":1}',
    '{"a":{"b":{"_\\u005fproto__":1}}}',
  ])('refuses __proto__: %s', (text) => {
    expect(() => parse(text)).toThrow(/__proto__/)
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined()
  })

  it.each(['', '{', 'NaN', '1e', "{'a':1}", '[1,]', '\u00001', '"\\x"', '1 2'])('refuses %j', (text) => {
    expect(() => parse(text)).toThrow(/not well-formed/)
  })

  it('refuses bytes that are no UTF-8, and a byte order mark', () => {
    expect(() => parseJsonText(Buffer.from([0x22, 0xff, 0x22]), 'the text')).toThrow(/not well-formed/)
    expect(() => parse('\uFEFF1')).toThrow(/not well-formed/)
  })

  it('keeps odd numbers and lone surrogates as JSON has them', () => {
    expect(parse('[1e308,1e999,-0,"\\ud800"]')).toEqual([1e308, Infinity, -0, '\ud800'])
  })
})
