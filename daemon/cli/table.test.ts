import { describe, expect, it } from 'vitest'
import { pairs, table } from './table.ts'
import { displayWidth } from './terminal.ts'

interface Row {
  readonly name: string
  readonly count?: number
}
const columns = [
  { title: 'NAME', of: (row: Row) => row.name },
  { title: 'COUNT', of: (row: Row) => row.count, align: 'right' as const },
]

describe('table()', () => {
  it('lines up, marks what is missing, and leaves no blanks at the end', () => {
    expect(
      table(columns, [{ name: 'a', count: 5 }, { name: '日本' }, { name: 'longer', count: 12_345 }], undefined),
    ).toBe(['NAME    COUNT', 'a           5', '日本        -', 'longer  12345'].join('\n'))
  })

  it('fits the terminal, the widest column giving way', () => {
    const text = table(columns, [{ name: 'x'.repeat(100), count: 1 }], 30)
    for (const line of text.split('\n')) expect(displayWidth(line)).toBeLessThanOrEqual(30)
    expect(text).toContain('…')
  })

  it('never cuts what one copies, and cuts remarks before anything else', () => {
    const rows = [{ id: 'x'.repeat(40), state: 'connected', note: 'n'.repeat(40) }]
    type One = (typeof rows)[number]
    const cuts = [
      { title: 'NOTE', of: (row: One) => row.note, room: 'first' as const },
      { title: 'STATE', of: (row: One) => row.state },
      { title: 'ID', of: (row: One) => row.id, room: 'whole' as const },
    ]
    const [, roomy] = table(cuts, rows, 70).split('\n')
    expect(roomy).toBe(`${'n'.repeat(16)}…  connected  ${'x'.repeat(40)}`)
    const [, narrow] = table(cuts, rows, 20).split('\n')
    expect(narrow).toBe(`nnn…  connected  ${'x'.repeat(40)}`)
  })

  it('API-11 shows the codes of names that would steer the terminal', () => {
    expect(table(columns, [{ name: 'a\u001b[2J\nb' }], undefined)).toContain('a\\x1b[2J\\x0ab')
    expect(pairs([['key', 'a\rb']])).toBe('key  a\\x0db')
  })
})
