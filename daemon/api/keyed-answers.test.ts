import { expect, test } from 'vitest'
import { KeyedAnswers } from './keyed-answers.ts'

const caller = { subject: 'local', key: 'k' }

test('SDK-06 for one key it is done once, at once and afterwards; for another caller, or without a key, again', async () => {
  const answers = new KeyedAnswers()
  let made = 0
  const make = (): number => ++made
  expect(await Promise.all([answers.once(caller, ['a'], make), answers.once(caller, ['a'], make)])).toEqual([1, 1])
  expect(await answers.once(caller, ['a'], make)).toBe(1)
  expect(() => answers.once(caller, ['b'], make)).toThrow(expect.objectContaining({ code: 'E_KEY_REUSED' }))
  expect(await answers.once({ subject: 'ci', key: 'k' }, ['a'], make)).toBe(2)
  expect(await answers.once({ subject: 'local' }, ['a'], make)).toBe(3)
})

test('what failed is tried again', async () => {
  const answers = new KeyedAnswers()
  await expect(answers.once(caller, ['a'], () => Promise.reject(new Error('full')))).rejects.toThrow('full')
  expect(await answers.once(caller, ['b'], () => 'done')).toBe('done')
})

test('only so many are kept', async () => {
  const answers = new KeyedAnswers()
  let made = 0
  for (let index = 0; index <= 1_000; index++) await answers.once({ subject: 's', key: `${index}` }, 0, () => ++made)
  expect(await answers.once({ subject: 's', key: '1000' }, 0, () => ++made)).toBe(1_001)
  expect(await answers.once({ subject: 's', key: '0' }, 0, () => ++made)).toBe(1_002)
})
