/** Plain tables that fit the terminal. */
import { displayWidth, fit, safeLine } from './terminal.ts'

export interface Column<Row> {
  readonly title: string
  readonly of: (row: Row) => string | number | undefined
  readonly align?: 'left' | 'right'
}

const GAP = 2
const NARROWEST = 4

/** Cells are made safe for the terminal. @param width in columns; undefined: as wide as needed */
export function table<Row>(columns: readonly Column<Row>[], rows: readonly Row[], width: number | undefined): string {
  const cells = rows.map((row) => columns.map((column) => safeLine(String(column.of(row) ?? '-'))))
  const all = [columns.map((column) => column.title), ...cells]
  const widths = columns.map((_, at) => Math.max(...all.map((line) => displayWidth(line[at] ?? ''))))
  if (width !== undefined) shrink(widths, width - GAP * (columns.length - 1))
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

/** The widest column gives way first. */
function shrink(widths: number[], total: number): void {
  for (let over = widths.reduce((sum, one) => sum + one, 0) - total; over > 0; over--) {
    const widest = Math.max(...widths)
    if (widest <= NARROWEST) return
    const at = widths.indexOf(widest)
    widths[at] = widest - 1
  }
}

/** "key  value" lines. */
export function pairs(entries: readonly (readonly [string, string])[]): string {
  const width = Math.max(...entries.map(([key]) => displayWidth(key)))
  return entries.map(([key, value]) => `${key.padEnd(width)}  ${safeLine(value)}`).join('\n')
}
