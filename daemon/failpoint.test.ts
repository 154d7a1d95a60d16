import { expect, it } from 'vitest'
import { failpoint, parseFailpoints } from './failpoint.ts'

it('parseFailpoints() knows names of the table, actions and hits', () => {
  expect(parseFailpoints('journal.before-batch:kill')).toEqual(
    new Map([['journal.before-batch', { action: 'kill', left: 1 }]]),
  )
  expect(parseFailpoints('journal.before-mark:error:3,journal.after-batch:kill').size).toBe(2)
})

it.each([
  '',
  'nothing:kill',
  'journal.before-batch',
  'journal.before-batch:explode',
  'journal.before-batch:kill:0',
  'toString:kill',
])('parseFailpoints() refuses %j', (text) => {
  expect(() => parseFailpoints(text)).toThrow(TypeError)
})

it('failpoint() does nothing when none is armed', () => {
  expect(() => failpoint('journal.before-batch')).not.toThrow()
})
