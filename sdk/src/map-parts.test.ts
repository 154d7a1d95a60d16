import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { type MapPart, mapParts } from './map-parts.ts'

async function cut(
  inputs: Iterable<unknown> | AsyncIterable<unknown>,
  maxBytes: number,
  maxInputs: number,
): Promise<MapPart[]> {
  const parts: MapPart[] = []
  for await (const part of mapParts(inputs, { maxBytes, maxInputs })) parts.push(part)
  return parts
}

describe('mapParts()', () => {
  it('keeps every input, in order, within the bounds', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.jsonValue()), fc.integer({ min: 1, max: 20 }), async (inputs, count) => {
        const parts = await cut(inputs, 100_000, count)
        expect(parts.flatMap((part) => JSON.parse(part.inputs) as unknown[])).toEqual(
          JSON.parse(JSON.stringify(inputs)),
        )
        for (const part of parts) expect(part.count).toBeLessThanOrEqual(count)
      }),
    )
  })

  it('cuts by size in UTF-8, and refuses an input that fits nowhere', async () => {
    const parts = await cut(['ü'.repeat(2000), 'ü'.repeat(2000), 'a'], 5000, 100)
    expect(parts.map((part) => part.count)).toEqual([1, 2])
    for (const part of parts) expect(Buffer.byteLength(part.inputs)).toBeLessThanOrEqual(5000)
    await expect(cut(['x'.repeat(5000)], 5000, 100)).rejects.toMatchObject({ code: 'E_TOO_LARGE' })
  })

  it('reads no further than it must', async () => {
    let read = 0
    const endless = function* () {
      for (;;) yield read++
    }
    const parts = mapParts(endless(), { maxInputs: 10 })
    await parts.next()
    expect(read).toBe(11)
    await parts.return(undefined)
  })

  describe('of a slow source', () => {
    const never = new AbortController().signal

    it('are made of a string too, which is no object', async () => {
      const parts = mapParts('abc', { soon: { ms: 5, signal: never } })
      expect((await parts.next()).value).toEqual({ inputs: '["a","b","c"]', count: 3 })
    })

    it('give what has come when the source stands still, and nothing twice', async () => {
      const more = Promise.withResolvers<void>()
      const source = async function* () {
        yield 1
        yield 2
        await more.promise
        yield 3
      }
      const parts = mapParts(source(), { soon: { ms: 5, signal: never } })
      expect((await parts.next()).value).toEqual({ inputs: '[1,2]', count: 2 })
      const rest = parts.next()
      await new Promise((resolve) => setTimeout(resolve, 30))
      more.resolve()
      expect((await rest).value).toEqual({ inputs: '[3]', count: 1 })
      expect(await parts.next()).toEqual({ done: true, value: undefined })
    })

    it('do not wait for a source that never stands still, and get longer', async () => {
      vi.useFakeTimers()
      try {
        const steady = async function* () {
          for (let n = 0; n < 2_000; n++) yield await new Promise((resolve) => setTimeout(resolve, 10, n))
        }
        const counts: number[] = []
        const reading = (async () => {
          for await (const part of mapParts(steady(), { soon: { ms: 50, signal: never } })) counts.push(part.count)
        })()
        await vi.advanceTimersByTimeAsync(20_100)
        await reading
        expect(counts.reduce((sum, count) => sum + count)).toBe(2_000)
        expect(counts[0]).toBeLessThanOrEqual(5)
        // of half a second each in the end
        expect(counts.at(-2)).toBeGreaterThan(40)
        expect(counts.length).toBeLessThan(120)
      } finally {
        vi.useRealTimers()
      }
    })

    it('end with what the source threw, also long after the last input', async () => {
      const source = async function* () {
        yield 1
        await new Promise((resolve) => setTimeout(resolve, 30))
        throw new Error('the source failed')
      }
      const parts = mapParts(source(), { soon: { ms: 5, signal: never } })
      expect(await parts.next()).toMatchObject({ value: { count: 1 } })
      await expect(parts.next()).rejects.toThrow('the source failed')
    })

    it('end with the signal though it stands still for ever, and tell a source that can hear it', async () => {
      const stop = new AbortController()
      const parts = mapParts(
        (async function* () {
          yield await new Promise(() => undefined)
        })(),
        { soon: { ms: 5, signal: stop.signal } },
      )
      const next = parts.next()
      stop.abort()
      expect((await next).done).toBe(true)

      let told = false
      const counting = (async function* () {
        try {
          for (let n = 0; ; n++) yield n
        } finally {
          told = true
        }
      })()
      const cut = mapParts(counting, { maxInputs: 3, soon: { ms: 5, signal: never } })
      expect(await cut.next()).toMatchObject({ value: { count: 3 } })
      await cut.return(undefined)
      await vi.waitFor(() => expect(told).toBe(true))
    })

    it('cost nothing more for each moment that it stands still', async () => {
      const still = new Promise<IteratorResult<number>>(() => undefined)
      const waits = vi.spyOn(still, 'then')
      const source = { [Symbol.asyncIterator]: () => ({ next: () => still }) }
      const stop = new AbortController()
      const parts = mapParts(source, { soon: { ms: 1, signal: stop.signal } })
      const next = parts.next()
      await new Promise((resolve) => setTimeout(resolve, 100))
      expect(waits.mock.calls.length).toBe(1)
      stop.abort()
      expect((await next).done).toBe(true)
    })

    it('are full where it does not wait', async () => {
      const parts = mapParts([1, 2, 3], { maxInputs: 2, soon: { ms: 1, signal: never } })
      expect(await parts.next()).toMatchObject({ value: { count: 2 } })
      await new Promise((resolve) => setTimeout(resolve, 10))
      expect(await parts.next()).toMatchObject({ value: { count: 1 } })
    })
  })
})
