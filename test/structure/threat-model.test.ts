/** The threat model names tests that exist and carry the id of their row. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8')

interface Row {
  readonly id: string
  /** Files of the defence, below daemon/ unless their path begins at the root */
  readonly defences: readonly string[]
  readonly tests: readonly string[]
}

function rowsOf(text: string): Row[] {
  return text.split('\n').flatMap((line) => {
    const cells = line.split('|').map((cell) => cell.trim())
    const id = /^(?:[A-Z0-9]{3}-\d\d|F\d\d)$/.exec(cells[1] ?? '')?.[0]
    if (id === undefined) return []
    const inTicks = (cell: string): string[] => [...cell.matchAll(/`([^`]+)`/g)].flatMap(([, path]) => path ?? [])
    return { id, tests: inTicks(cells.at(-2) ?? ''), defences: cells.length > 6 ? inTicks(cells[4] ?? '') : [] }
  })
}

/** Ids of a row in which a test's file does not exist or does not name it, and defences that are not there. */
function faultsOf(rows: readonly Row[]): string[] {
  return rows.flatMap(({ id, tests, defences }) => [
    ...tests
      .filter((path) => !existsSync(join(ROOT, path)) || !read(path).includes(id))
      .map((path) => `${id}: ${path}`),
    ...defences
      .filter((path) => !existsSync(join(ROOT, 'daemon', path)) && !existsSync(join(ROOT, path)))
      .map((path) => `${id}: ${path}`),
  ])
}

test('every row names defences that are there and tests that carry its id', () => {
  const rows = rowsOf(read('docs/THREAT_MODEL.md'))
  expect(rows.length).toBeGreaterThan(70)
  expect(new Set(rows.map(({ id }) => id)).size).toBe(rows.length)
  expect(faultsOf(rows)).toEqual([])
})

test('a row with a wrong test or defence is seen', () => {
  const rows = rowsOf('| ISO-01 | a | b | `exec/none.ts` | `README.md` |\n| F01 | a | b | `test/none.test.ts` |')
  expect(faultsOf(rows)).toEqual(['ISO-01: README.md', 'ISO-01: exec/none.ts', 'F01: test/none.test.ts'])
})
