import { expect, test } from 'vitest'
import { specOf } from '../../../test/attack/isolate-kit.ts'
import { SupervisedJob } from './supervised-job.ts'

test('inputs of open calls are bounded together: a call too many is refused alone', () => {
  const refused: [number, string][] = []
  const job = new SupervisedJob(
    specOf('export default () => 1'),
    undefined,
    {},
    {
      now: () => 0,
      onReply: (id, reply) => refused.push([id, reply.ok ? 'ok' : reply.error.code]),
      onAgain: () => undefined,
      onDone: () => undefined,
    },
  )
  // Nobody reads them, and the text is one and the same.
  const input = JSON.stringify('x'.repeat((8 << 20) - 2))
  for (let id = 0; id < 33; id++) job.request(id, input)
  expect(refused).toEqual([[32, 'E_OVERLOADED']])
  job.end('canceled')
  expect(refused.length).toBe(33)
})
