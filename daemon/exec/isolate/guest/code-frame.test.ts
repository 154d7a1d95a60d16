import { describe, expect, test } from 'vitest'
import { codeFrame } from './code-frame.ts'

describe('codeFrame', () => {
  const source = 'const a = 1\nconst b = 2\nboom(a, b)\nconst c = 3\nconst d = 4\nconst e = 5\n'

  test('shows two lines around and a caret under the column', () => {
    expect(codeFrame(source, 3, 6)).toBe(
      [
        '  1 | const a = 1',
        '  2 | const b = 2',
        '> 3 | boom(a, b)',
        '    |      ^',
        '  4 | const c = 3',
        '  5 | const d = 4',
      ].join('\n'),
    )
  })

  test('aligns line numbers of different length', () => {
    const frame = codeFrame(Array.from({ length: 11 }, (_, i) => `l${i + 1}`).join('\n'), 10, 1)
    expect(frame).toBe(['   8 | l8', '   9 | l9', '> 10 | l10', '     | ^', '  11 | l11'].join('\n'))
  })

  test('keeps tabs, so that the caret stays under its place', () => {
    expect(codeFrame('\tif (\tx', 1, 7)).toBe('> 1 | \tif (\tx\n    | \t    \t^')
  })

  test('moves a column outside of the line to its edge', () => {
    expect(codeFrame('ab', 1, 99)).toBe('> 1 | ab\n    |   ^')
    expect(codeFrame('ab', 1, -5)).toBe('> 1 | ab\n    | ^')
    expect(codeFrame('ab', 1, Number.NaN)).toBe('> 1 | ab\n    | ^')
  })

  test('has nothing to show for a line that is not there', () => {
    for (const line of [0, -1, 8, 1.5, Number.NaN]) expect(codeFrame(source, line, 1)).toBeUndefined()
    expect(codeFrame('', 1, 1)).toBe('> 1 |\n    | ^')
  })

  test('cuts long lines around the position', () => {
    const frame = codeFrame(`${'x'.repeat(5000)}HERE${'y'.repeat(5000)}`, 1, 5001) ?? ''
    const [line = '', caret = ''] = frame.split('\n')
    expect(line.length).toBeLessThan(140)
    expect(line.slice(caret.indexOf('^'))).toMatch(/^HERE/)
  })

  test('lets no control or direction character through', () => {
    expect(codeFrame('a\x1b[31m\u202eb\x07', 1, 1)).toBe('> 1 | a\ufffd[31m\ufffdb\ufffd\n    | ^')
  })
})
