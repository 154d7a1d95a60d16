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

  describe('with pauses', () => {
    const never = new AbortController().signal

    it('gives what has come when the source stands still, and nothing twice', async () => {
      const more = Promise.withResolvers<void>()
      const source = async function* () {
        yield 1
        yield 2
        await more.promise
        yield 3
      }
      const parts = mapParts(source(), { pauses: { ms: 5, signal: never } })
      expect((await parts.next()).value).toEqual({ inputs: '[1,2]', count: 2 })
      const rest = parts.next()
      await new Promise((resolve) => setTimeout(resolve, 30))
      more.resolve()
      expect((await rest).value).toEqual({ inputs: '[3]', count: 1 })
      expect(await parts.next()).toEqual({ done: true, value: undefined })
    })

    it('throws what the source threw, also after a pause', async () => {
      const source = async function* () {
        yield 1
        await new Promise((resolve) => setTimeout(resolve, 30))
        throw new Error('the source failed')
      }
      const parts = mapParts(source(), { pauses: { ms: 5, signal: never } })
      expect(await parts.next()).toMatchObject({ value: { count: 1 } })
      await expect(parts.next()).rejects.toThrow('the source failed')
    })

    it('ends with the signal though the source stands still for ever, and tells a source that can hear it', async () => {
      const stop = new AbortController()
      const parts = mapParts(
        (async function* () {
          yield await new Promise(() => undefined)
        })(),
        { pauses: { ms: 5, signal: stop.signal } },
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
      const cut = mapParts(counting, { maxInputs: 3, pauses: { ms: 5, signal: never } })
      expect(await cut.next()).toMatchObject({ value: { count: 3 } })
      await cut.return(undefined)
      await vi.waitFor(() => expect(told).toBe(true))
    })

    it('are no matter for a source that does not wait', async () => {
      const parts = mapParts([1, 2, 3], { maxInputs: 2, pauses: { ms: 1, signal: never } })
      expect(await parts.next()).toMatchObject({ value: { count: 2 } })
      await new Promise((resolve) => setTimeout(resolve, 10))
      expect(await parts.next()).toMatchObject({ value: { count: 1 } })
    })
  })
})
