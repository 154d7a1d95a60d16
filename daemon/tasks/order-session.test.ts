import { expect, test } from 'vitest'
import { orderBy } from '../../test/support/orders.ts'
import { type JobFailure, NO_USAGE } from '../../protocol/job.ts'
import { LIMITS } from '../../protocol/limits.ts'
import type { Executor, ExecutorSession } from '../exec/executor.ts'
import { serveSession, type SessionFacts } from './order-session.ts'
import type { OrderResult } from './worker.ts'

test('a call that comes after the isolate died disturbs neither the result nor the receipt', async () => {
  const end = Promise.withResolvers<Awaited<ExecutorSession['ended']>>()
  const executor: Pick<Executor, 'open'> = {
    open: async () => ({ call: () => undefined, close: () => undefined, ended: end.promise }),
  }
  const facts = Promise.withResolvers<SessionFacts>()
  const failed: (readonly [number, JobFailure])[] = []
  const ready = Promise.withResolvers<void>()
  const held = serveSession(
    executor as Executor,
    orderBy('delegator', 'task', { kind: 'session', inputs: [] }),
    {
      onLog: () => undefined,
      onHostCall: async () => '',
      onReady: () => ready.resolve(),
      onReply: () => undefined,
      onCallFailed: (id, failure) => failed.push([id, failure]),
      onResult: () => undefined,
    },
    {
      finished: (found) => {
        facts.resolve(found)
        return {} as OrderResult
      },
      ended: () => undefined,
    },
  )
  await ready.promise
  held.call(1, '1')
  const error: JobFailure = { code: 'E_MEMORY', message: 'too much' }
  end.resolve({ error, usage: NO_USAGE })
  expect(await facts.promise).toMatchObject({ lost: false, error })
  expect(() => held.call(2, '2')).not.toThrow()
  held.finish()
  expect(failed).toEqual([])
})

test('calls that wait for the session to open are bounded in bytes too', () => {
  const failed: string[] = []
  const executor: Pick<Executor, 'open'> = { open: () => new Promise(() => undefined) }
  const held = serveSession(
    executor as Executor,
    orderBy('delegator', 'task', { kind: 'session', inputs: [] }),
    {
      onLog: () => undefined,
      onHostCall: async () => '',
      onReady: () => undefined,
      onReply: () => undefined,
      onCallFailed: (_, { code }) => failed.push(code),
      onResult: () => undefined,
    },
    { finished: () => ({}) as OrderResult, ended: () => undefined },
  )
  const input = JSON.stringify('x'.repeat(LIMITS.inputBytes - 2))
  for (let id = 1; id <= 10; id++) held.call(id, input)
  expect(failed.length).toBeGreaterThan(0)
  expect(new Set(failed)).toEqual(new Set(['E_OVERLOADED']))
})
