import { expect, test } from 'vitest'
import { Settler } from './settler.ts'

test('what is noted after the end is left to the next start', () => {
  const settled: string[] = []
  const settler = new Settler(
    (id) => Promise.resolve(void settled.push(id)),
    () => {},
  )
  settler.close()
  settler.note('a', 64 << 20)
  expect(settled).toEqual([])
})
