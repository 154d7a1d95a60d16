/** A few lines of source around a position, with a caret. */

/**
 * @param lines of the source, the first of which is number `first`
 * @param line 1-based
 * @param column 1-based
 */
export function codeFrame(lines: readonly string[], first: number, line: number, column: number): string {
  const from = Math.max(first, line - 2)
  const to = Math.min(first + lines.length - 1, line + 1)
  const width = String(to).length
  const rows: string[] = []
  for (let number = from; number <= to; number++) {
    const text = (lines[number - first] ?? '').slice(0, 160)
    rows.push(`${number === line ? '>' : ' '} ${String(number).padStart(width)} | ${text}`)
    if (number === line) rows.push(`  ${' '.repeat(width)} | ${text.slice(0, column - 1).replaceAll(/[^\t]/g, ' ')}^`)
  }
  return rows.join('\n')
}
