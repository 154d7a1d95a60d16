import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { plainIssue, whatDoesNotFit } from './plain-issue.ts'

const shape = z.strictObject({
  name: z.string().max(4).exactOptional(),
  count: z.int().min(1).max(9).exactOptional(),
  kind: z.enum(['run', 'map']).exactOptional(),
  list: z.array(z.string()).min(1).max(2).exactOptional(),
  own: z.string().regex(/^a/, 'it begins with a').exactOptional(),
  nested: z.strictObject({ flag: z.boolean() }).exactOptional(),
})

function told(value: unknown): string | undefined {
  const { error } = shape.safeParse(value, { error: plainIssue })
  return error && whatDoesNotFit(error)
}

describe('what a schema refuses', () => {
  test.each([
    [{ name: 'secret' }, 'name: at most 4 characters are wanted: received a text of 6 characters'],
    [{ name: 7 }, 'name: a text is wanted: received 7'],
    [{ count: 0 }, 'count: at least 1 is wanted: received 0'],
    [{ count: 10 }, 'count: at most 9 is wanted: received 10'],
    [{ count: 1.5 }, 'count: a whole number is wanted: received 1.5'],
    [{ kind: 'walk' }, 'kind: one of "run", "map" is wanted: received a text of 4 characters'],
    [{ list: [] }, 'list: at least 1 item is wanted: received a list of 0'],
    [{ list: ['a', 'b', 'c'] }, 'list: at most 2 items are wanted: received a list of 3'],
    [{ own: 'b' }, 'own: it begins with a'],
    [{ nested: {} }, 'nested.flag: true or false is wanted: it is missing'],
    [{ nested: null }, 'nested: an object is wanted: received null'],
    [{ what: 1, ever: 2 }, 'there is no field "what", "ever" here'],
    [{ name: 7, count: 0 }, 'name: a text is wanted: received 7 (and 1 more)'],
    ['text', 'an object is wanted: received a text of 4 characters'],
  ])('%j', (value, wanted) => {
    expect(told(value)).toBe(wanted)
  })

  test('nothing is said of what fits', () => {
    expect(told({ name: 'abcd', count: 9, kind: 'map', list: ['a'], nested: { flag: false } })).toBeUndefined()
  })
})
