/** A few lines of source around a position, with a caret under it. Pure. */

const MARGIN = 2
/** Longest piece of a line that is shown; longer lines are cut around the position. */
const WIDTH = 120

/**
 * @param line 1-based
 * @param column 1-based, in UTF-16 units as V8 counts; below 1 or beyond the line it is moved to the nearest place in it
 * @returns `undefined` when the source has no such line
 */
export function codeFrame(source: string, line: number, column: number): string | undefined {
  const lines = source.split(/\r\n|[\n\r\u2028\u2029]/)
  const target = lines[line - 1]
  if (!Number.isInteger(line) || target === undefined) return undefined
  const at = Math.min(Math.max(Math.trunc(column) || 1, 1), target.length + 1) - 1
  const from = at > WIDTH - 20 ? at - WIDTH / 2 : 0
  const first = Math.max(1, line - MARGIN)
  const last = Math.min(lines.length, line + MARGIN)
  const digits = String(last).length
  const output: string[] = []
  for (let n = first; n <= last; n++) {
    const text = visible((lines[n - 1] ?? '').slice(from, from + WIDTH))
    output.push(`${n === line ? '>' : ' '} ${String(n).padStart(digits)} | ${text}`.trimEnd())
    if (n !== line) continue
    const before = visible(target.slice(from, at)).replace(/[^\t]/g, ' ')
    output.push(`  ${' '.repeat(digits)} | ${before}^`)
  }
  return output.join('\n')
}

/** Control characters would act on a terminal, so a sign stands for each; tabs stay, as the line with the caret repeats them. */
function visible(text: string): string {
  // biome-ignore lint: control characters are what is replaced
  return text.replace(/[\x00-\x08\x0a-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, '\ufffd')
}
