import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { dataFrame, dataWithLength, jsonFrame, OP_FRAME, OpFrameReader, readFrame, withLength } from './op-frame.ts'

/** What a stream in pieces of these sizes is read as: data byte by byte, as it may come in any pieces. */
function read(stream: Buffer, sizes: readonly number[]): string[] {
  const reader = new OpFrameReader()
  const seen: string[] = []
  for (let at = 0, turn = 0; at < stream.length; turn++) {
    const size = sizes[turn % sizes.length] ?? 1
    for (const { type, lane, bytes } of reader.push(stream.subarray(at, at + size))) {
      if (type !== OP_FRAME.data) seen.push(`${type} ${Buffer.from(bytes).toString()}`)
      else for (const byte of bytes) seen.push(`${lane}: ${byte}`)
    }
    at += size
  }
  return seen
}

const sent = fc.array(fc.record({ lane: fc.integer({ min: 0, max: 2 }), size: fc.oneof(fc.nat(20), fc.nat(5_000)) }), {
  minLength: 1,
  maxLength: 10,
})
const cuts = fc.array(fc.integer({ min: 1, max: 3_000 }), { minLength: 1, maxLength: 10 })

describe('frames of an operation on a stream', () => {
  it('come back as they went, however the stream is cut', () => {
    fc.assert(
      fc.property(sent, cuts, (frames, sizes) => {
        const bodies = frames.map(({ size }, at) => Buffer.alloc(size, `${at}!`))
        const stream = frames.flatMap(({ lane }, at) => [
          dataWithLength(lane, bodies[at] ?? new Uint8Array()),
          withLength(jsonFrame(OP_FRAME.control, { at })),
        ])
        const expected = frames.flatMap(({ lane }, at) => [
          ...Array.from(bodies[at] ?? [], (byte) => `${lane}: ${byte}`),
          `${OP_FRAME.control} {"at":${at}}`,
        ])
        expect(read(Buffer.concat(stream), sizes)).toEqual(expected)
      }),
      { numRuns: 50 },
    )
  })

  it('are the same on a channel', () => {
    const whole = dataFrame(2, Buffer.from('abc'))
    expect(Buffer.from(withLength(whole))).toEqual(Buffer.from(dataWithLength(2, Buffer.from('abc'))))
    expect(readFrame(whole)).toMatchObject({ type: OP_FRAME.data, lane: 2 })
  })

  it.each([
    ['no bytes', [0, 0, 0, 0]],
    ['more than any frame has', [255, 255, 255, 255]],
    ['data on no lane', [1, 0, 0, 0, OP_FRAME.data]],
  ])('of %s are refused', (_, bytes) => {
    expect(() => read(Buffer.from(bytes), [100])).toThrow(expect.objectContaining({ code: 'E_PROTOCOL' }))
  })

  it('that are empty are refused on a channel', () => {
    expect(() => readFrame(new Uint8Array())).toThrow(expect.objectContaining({ code: 'E_PROTOCOL' }))
    expect(() => readFrame(Uint8Array.of(OP_FRAME.data))).toThrow(expect.objectContaining({ code: 'E_PROTOCOL' }))
  })
})
