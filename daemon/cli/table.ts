/** Plain tables that fit the terminal. */
import { displayWidth, fit, safeLine } from './terminal.ts'

export interface Column<Row> {
  readonly title: string
  readonly of: (row: Row) => string | number | undefined
  readonly align?: 'left' | 'right'
  /** `whole`: what one copies, never cut. `first`: gives way before the others. @default none: the widest gives way */
  readonly room?: 'whole' | 'first'
}

const GAP = 2
/** Columns of the terminal. A state or a name that is cut further says nothing; what gives way first may shrink to a hint that there is more. */
const NARROWEST = { first: 4, others: 10 }

/** Cells are made safe for the terminal. @param width in columns; undefined: as wide as needed */
export function table<Row>(columns: readonly Column<Row>[], rows: readonly Row[], width: number | undefined): string {
  const cells = rows.map((row) => columns.map((column) => safeLine(String(column.of(row) ?? '-'))))
  const all = [columns.map((column) => column.title), ...cells]
  const widths = columns.map((_, at) => Math.max(...all.map((line) => displayWidth(line[at] ?? ''))))
  if (width !== undefined) {
    const total = width - GAP * (columns.length - 1)
    shrink(widths, (at) => columns[at]?.room === 'first', NARROWEST.first, total)
    shrink(widths, (at) => columns[at]?.room === undefined, NARROWEST.others, total)
  }
  return all.map((line) => renderLine(line, columns, widths)).join('\n')
}

function renderLine<Row>(cells: readonly string[], columns: readonly Column<Row>[], widths: readonly number[]): string {
  return cells
    .map((cell, at) => {
      const text = fit(cell, widths[at] ?? 0)
      const pad = ' '.repeat(Math.max(0, (widths[at] ?? 0) - displayWidth(text)))
      return columns[at]?.align === 'right' ? pad + text : text + pad
    })
    .join(' '.repeat(GAP))
    .trimEnd()
}

/** Of those that may, the widest column gives way first. What does not fit then is broken by the terminal, which cuts nothing. */
function shrink(widths: number[], may: (at: number) => boolean, narrowest: number, total: number): void {
  for (let over = widths.reduce((sum, one) => sum + one, 0) - total; over > 0; over--) {
    const widest = Math.max(...widths.filter((_, at) => may(at)))
    if (widest <= narrowest) return
    widths[widths.findIndex((width, at) => width === widest && may(at))] = widest - 1
  }
}

/** "key  value" lines. */
export function pairs(entries: readonly (readonly [string, string])[]): string {
  const width = Math.max(...entries.map(([key]) => displayWidth(key)))
  return entries.map(([key, value]) => `${key.padEnd(width)}  ${safeLine(value)}`).join('\n')
}
