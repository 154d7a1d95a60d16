/** console.table: rows and columns in a box. */
import { inspect } from './inspect.ts'

const MOST_ROWS = 1000

/** `undefined` when the data is not tabular. */
export function table(data: unknown, only?: readonly string[]): string | undefined {
  if (typeof data !== 'object' || data === null) return undefined
  const source = data instanceof Map || data instanceof Set ? [...data] : data
  const rows = Object.entries(source).slice(0, MOST_ROWS)
  const columns: string[] = [...(only ?? [])]
  const isRow = (value: unknown): value is object => typeof value === 'object' && value !== null
  if (only === undefined)
    for (const [, row] of rows)
      if (isRow(row)) for (const name of Object.keys(row)) if (!columns.includes(name)) columns.push(name)
  const plain = rows.some(([, row]) => !isRow(row))
  const head = ['(index)', ...columns, ...(plain ? ['Values'] : [])]
  const cell = (row: unknown, name: string) =>
    isRow(row) && Object.hasOwn(row, name) ? inspect((row as Record<string, unknown>)[name]) : ''
  const body = rows.map(([index, row]) => [
    index,
    ...columns.map((name) => cell(row, name)),
    ...(plain ? [isRow(row) ? '' : inspect(row)] : []),
  ])
  const widths = head.map(
    (title, column) => Math.max(title.length, ...body.map((line) => line[column]?.length ?? 0)) + 2,
  )
  const line = (cells: readonly string[]) =>
    `│${cells.map((text, column) => ` ${text}`.padEnd(widths[column] ?? 0)).join('│')}│`
  const rule = (left: string, middle: string, right: string) =>
    `${left}${widths.map((width) => '─'.repeat(width)).join(middle)}${right}`
  return [rule('┌', '┬', '┐'), line(head), rule('├', '┼', '┤'), ...body.map(line), rule('└', '┴', '┘')].join('\n')
}
