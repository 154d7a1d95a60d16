import { expect, test } from 'vitest'
import { Turns } from './turns.ts'

test('one at a time for a key, in order; other keys at once', async () => {
  const turns = new Turns()
  const said: string[] = []
  const first = Promise.withResolvers<void>()
  const runs = [
    turns.run('a', async () => {
      await first.promise
      said.push('a1')
    }),
    turns.run('a', async () => void said.push('a2')),
    turns.run('b', async () => void said.push('b')),
  ]
  await runs[2]
  expect(said).toEqual(['b'])
  first.resolve()
  await Promise.all(runs)
  expect(said).toEqual(['b', 'a1', 'a2'])
  expect(turns.size).toBe(0)
})

test('who gives up waiting holds nobody up, and a full line refuses', async () => {
  const turns = new Turns()
  const first = Promise.withResolvers<void>()
  const running = turns.run('a', () => first.promise)
  const gone = new AbortController()
  const given = turns.run('a', async () => {}, gone.signal)
  gone.abort(new Error('enough'))
  await expect(given).rejects.toThrow('enough')
  const others = Array.from({ length: 63 }, () => turns.run('a', async () => 1))
  await expect(turns.run('a', async () => {})).rejects.toMatchObject({ code: 'E_OVERLOADED' })
  first.resolve()
  await running
  expect(await Promise.all(others)).toHaveLength(63)
})
