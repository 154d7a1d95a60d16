/** Results as one table for a terminal. */
import { meetsBars, type Result } from './result.ts'

const number = (value: number): string =>
  value >= 1000 ? Math.round(value).toLocaleString('en-US') : String(Number(value.toPrecision(3)))

function row(result: Result): string[] {
  const { what, value, unit, bar, against, rival, ratio, ratioBar, note } = result
  const compared = against === undefined ? '' : `${against}${rival === undefined ? '' : ` ${number(rival)}`}`
  const times = ratio === undefined ? '' : `${number(ratio)}x${ratioBar === undefined ? '' : ` (${ratioBar})`}`
  const verdict = bar === undefined && ratioBar === undefined ? '' : meetsBars(result) ? 'met' : 'MISSED'
  return [what, `${number(value)} ${unit}`, bar ?? '', verdict, compared, times, note ?? '']
}

const HEADER = ['what', 'value', 'bar', '', 'against', 'ratio', 'note'] as const

export function table(results: readonly Result[]): string {
  const rows: readonly (readonly string[])[] = [HEADER, ...results.map(row)]
  const widths = HEADER.map((_, column) => Math.max(...rows.map((cells) => cells[column]?.length ?? 0)))
  return rows
    .map((cells) =>
      cells
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
