/** "; did you mean ..." for a mistyped name, or nothing when no known name is near. */
export function didYouMean(typed: string, known: Iterable<string>): string {
  let best: string | undefined
  // A third of the letters may be wrong; more is a guess
  let least = Math.floor(typed.length / 3) + 1
  for (const name of known) {
    const distance = editDistance(typed.slice(0, 64), name)
    if (distance < least) [least, best] = [distance, name]
  }
  return best === undefined ? '' : `; did you mean "${best}"?`
}

/** Levenshtein distance by the usual two-row table (Wagner and Fischer, 1974), without regard to case. */
function editDistance(left: string, right: string): number {
  const [a, b] = [left.toLowerCase(), right.toLowerCase()]
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const replace = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(replace, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}
