import { describe, expect, it } from 'vitest'
import { Budget } from './budget.ts'

const never = new AbortController().signal

describe('Budget', () => {
  it('lets so many in, the others in order as places come free', async () => {
    const budget = new Budget(2, 10)
    const order: number[] = []
    const first = await budget.take(never)
    const second = await budget.take(never)
    const waiting = [3, 4].map(async (n) => {
      const release = await budget.take(never)
      order.push(n)
      return release
    })
    await Promise.resolve()
    expect(order).toEqual([])
    first()
    first()
    await waiting[0]
    expect(order).toEqual([3])
    second()
    await waiting[1]
    expect(order).toEqual([3, 4])
  })

  it('refuses when the queue is full, and forgets who no longer waits', async () => {
    const budget = new Budget(1, 1)
    const release = await budget.take(never)
    const stop = new AbortController()
    const gone = budget.take(stop.signal)
    await expect(budget.take(never)).rejects.toMatchObject({ code: 'E_OVERLOADED' })
    stop.abort('gone')
    await expect(gone).rejects.toBe('gone')
    const next = budget.take(never)
    release()
    ;(await next)()
    await expect(budget.take(AbortSignal.abort('late'))).rejects.toBe('late')
  })
})
