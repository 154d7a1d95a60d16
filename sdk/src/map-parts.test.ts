import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type MapPart, mapParts } from './map-parts.ts'

async function cut(
  inputs: Iterable<unknown> | AsyncIterable<unknown>,
  bytes: number,
  count: number,
): Promise<MapPart[]> {
  const parts: MapPart[] = []
  for await (const part of mapParts(inputs, bytes, count)) parts.push(part)
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
    const parts = mapParts(endless(), 1_000_000, 10)
    await parts.next()
    expect(read).toBe(11)
    await parts.return(undefined)
  })
})
