import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { displayWidth, fit, safeJson, safeLine, safeText } from './terminal.ts'

/** What may steer a terminal or deceive its reader */
const DANGER = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029\ufeff]/

it('counts the columns of signs that terminals draw wide', () => {
  for (const [text, width] of [
    ['✅', 2],
    ['⚡', 2],
    ['⭐', 2],
    ['🃏', 2],
    ['→', 1],
    ['日本', 4],
    ['é', 1],
  ] as const)
    expect([text, displayWidth(text)]).toEqual([text, width])
})

describe('API-11 text from elsewhere on a terminal', () => {
  it.each([
    ['a clipboard write by OSC 52', '\u001b]52;c;aGk=\u0007', '\\x1b]52;c;aGk=\\x07'],
    ['a title by OSC 0 with a C1 terminator', '\u009d0;owned\u009c', '\\x9d0;owned\\x9c'],
    ['a line written over', 'safe\rrm -rf', 'safe\\x0drm -rf'],
    ['text that runs backwards', 'user\u202etxt.exe', 'user\\u202etxt.exe'],
    ['isolates of direction', '\u2066a\u2069', '\\u2066a\\u2069'],
    ['hidden tags', 'a\u{e0041}b', 'a\\u{e0041}b'],
    ['half a character', 'a\ud800b', 'a\\ud800b'],
    ['colours and cursor moves', '\u001b[2J\u001b[31m', '\\x1b[2J\\x1b[31m'],
    ['backspaces', 'abc\b\b\bxyz', 'abc\\x08\\x08\\x08xyz'],
  ])('shows %s as codes', (_, text, shown) => {
    expect(safeLine(text)).toBe(shown)
    expect(safeText(text)).toBe(shown)
  })

  it('leaves plain text of any language alone', () => {
    for (const text of ['grüße', '日本語', 'עברית', '👩‍💻 done', 'a\tb\nc']) expect(safeText(text)).toBe(text)
    expect(safeLine('a\nb\tc')).toBe('a\\x0ab\\x09c')
  })

  it('lets nothing dangerous through, whatever comes', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(safeLine(text)).not.toMatch(DANGER)
        expect(safeText(text)).not.toMatch(DANGER)
      }),
    )
  })

  it('escapes JSON into the same JSON', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom(0, 2), (value, indent) => {
        const json = safeJson({ value, bad: '\u009b31m\u202e' }, indent)
        expect(json).not.toMatch(DANGER)
        expect(JSON.parse(json)).toEqual(JSON.parse(JSON.stringify({ value, bad: '\u009b31m\u202e' })))
      }),
    )
  })
})

describe('fit()', () => {
  it('cuts by columns, not characters', () => {
    expect(fit('abcdef', 6)).toBe('abcdef')
    expect(fit('abcdefg', 6)).toBe('abcde…')
    expect(fit('日本語日本語', 6)).toBe('日本…')
    expect(fit('abc', 0)).toBe('')
    fc.assert(
      fc.property(
        fc.string({ unit: 'grapheme' }),
        fc.nat(40),
        (text, width) => displayWidth(fit(text, width)) <= width,
      ),
    )
  })
})
