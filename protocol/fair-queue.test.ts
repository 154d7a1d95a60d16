import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FairQueue } from './fair-queue.ts'

describe('fair queue', () => {
  test('RES-01 ten jobs of one peer pass a flood of another within twice their own time', () => {
    const queue = new FairQueue<number>({ maxPerOrigin: 500, maxTotal: 1_000 })
    let refused = 0
    for (let job = 0; job < 10_000; job++) if (queue.push('flood', job).type === 'refused') refused++
    expect(refused).toBe(9_500)
    for (let job = 0; job < 10; job++) expect(queue.push('other', job).type).toBe('queued')
    let taken = 0
    for (let left = 10; left > 0; taken++) if (queue.shift()?.origin === 'other') left--
    expect(taken).toBeLessThanOrEqual(20)
  })

  test('a late comer is not locked out of a full queue: the longest line gives way at its end', () => {
    const queue = new FairQueue<number>({ maxPerOrigin: 100, maxTotal: 100 })
    for (let job = 0; job < 100; job++) queue.push('flood', job)
    expect(queue.push('late', 1)).toEqual({ type: 'queued', dropped: { origin: 'flood', item: 99 } })
    expect(queue.push('flood', 1)).toMatchObject({ type: 'refused' })
    expect(queue.size).toBe(100)
  })

  test('costs count: an origin with large items gets as much, not as many', () => {
    const queue = new FairQueue<string>({ maxPerOrigin: 100, maxTotal: 1_000 })
    for (let job = 0; job < 40; job++) {
      queue.push('large', 'large', 4)
      queue.push('small', 'small', 1)
    }
    const taken = Array.from({ length: 30 }, () => queue.shift()?.origin)
    expect(taken.filter((origin) => origin === 'small').length).toBeGreaterThanOrEqual(22)
    expect(taken).toContain('large')
  })

  test('nothing is lost or doubled, order within an origin stays, sizes are right', () => {
    const act = fc.oneof(
      fc.record({
        type: fc.constant('push' as const),
        origin: fc.constantFrom('a', 'b', 'c'),
        cost: fc.integer({ min: 0, max: 9 }),
      }),
      fc.record({ type: fc.constant('shift' as const) }),
      fc.record({ type: fc.constant('remove' as const), origin: fc.constantFrom('a', 'b') }),
    )
    fc.assert(
      fc.property(fc.array(act, { maxLength: 120 }), (acts) => {
        const queue = new FairQueue<number>({ maxPerOrigin: 10, maxTotal: 20, quantum: 3 })
        const model = new Map<string, number[]>([
          ['a', []],
          ['b', []],
          ['c', []],
        ])
        acts.forEach((step, at) => {
          if (step.type === 'push') {
            const result = queue.push(step.origin, at, step.cost)
            if (result.type === 'refused') return
            if (result.dropped) expect(model.get(result.dropped.origin)?.pop()).toBe(result.dropped.item)
            model.get(step.origin)?.push(at)
          } else if (step.type === 'shift') {
            const taken = queue.shift()
            const isEmpty = [...model.values()].every((line) => line.length === 0)
            expect(taken === undefined).toBe(isEmpty)
            if (taken) expect(model.get(taken.origin)?.shift()).toBe(taken.item)
          } else {
            expect(queue.removeWhere((origin) => origin === step.origin)).toBe(model.get(step.origin)?.length)
            model.set(step.origin, [])
          }
          for (const [origin, line] of model) expect(queue.sizeOf(origin)).toBe(line.length)
          expect(queue.size).toBe([...model.values()].reduce((sum, line) => sum + line.length, 0))
        })
      }),
    )
  })
})
