import { expect, it } from 'vitest'
import { Renewals } from './renewals.ts'

it('a node that does not answer holds up no other, and is asked again once it was given up', async () => {
  const asked: string[] = []
  const warned: object[] = []
  const silence = Promise.withResolvers<void>()
  const renewals = new Renewals({
    holders: () => ['silent', 'well', 'away'],
    isConnected: (node) => node !== 'away',
    renew: (node) => {
      asked.push(node)
      return node === 'silent' ? silence.promise : Promise.resolve()
    },
    warn: (facts) => void warned.push(facts),
  })
  for (let n = 0; n < 3; n++) {
    renewals.tick()
    await new Promise(setImmediate)
  }
  expect(asked).toEqual(['silent', 'well', 'well', 'well'])
  const late = new Error('it did not answer')
  silence.reject(late)
  await new Promise(setImmediate)
  expect(warned).toEqual([{ err: late, peer: 'silent' }])
  renewals.tick()
  expect(asked.slice(4)).toEqual(['silent', 'well'])
})
