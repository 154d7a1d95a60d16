import fc from 'fast-check'
import { Writer } from 'protobufjs/minimal.js'
import { expect, test } from 'vitest'
import { LIMITS } from '../../protocol/limits.ts'
import { manyhands } from '../../proto/gen/wire.js'
import { FrameDecoder } from './frame-decoder.ts'

const cutAt = (bytes: Uint8Array, cuts: readonly number[]): Uint8Array[] => {
  const at = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]
  return at.slice(1).map((end, index) => bytes.subarray(at[index], end))
}

test('frames come out whole and in order however the bytes are cut', () => {
  const sizes = fc.array(fc.oneof(fc.nat(20), fc.nat(70_000)), { minLength: 1, maxLength: 12 })
  fc.assert(
    fc.property(sizes, fc.array(fc.nat(200_000), { maxLength: 40 }), (lengths, cuts) => {
      const writer = Writer.create()
      lengths.forEach((length, index) =>
        manyhands.Frame.encodeDelimited({ id: index + 1, data: new Uint8Array(length).fill(index) }, writer),
      )
      const got: [number, number, boolean][] = []
      const decoder = new FrameDecoder(({ id, data }) =>
        got.push([id, data?.length ?? 0, data?.every((byte) => byte === id - 1) ?? true]),
      )
      for (const chunk of cutAt(writer.finish(), cuts)) decoder.push(chunk)
      expect(got).toEqual(lengths.map((length, index) => [index + 1, length, true]))
      expect(decoder.partialBytes).toBe(0)
    }),
    { numRuns: 60 },
  )
})

test('what is decoded from a Buffer is plain bytes', () => {
  let data: Uint8Array | undefined
  new FrameDecoder((frame) => {
    data = frame.data ?? undefined
  }).push(Buffer.from(manyhands.Frame.encodeDelimited({ id: 1, data: Uint8Array.of(1, 2) }).finish()))
  expect(data).toEqual(Uint8Array.of(1, 2))
})

test('a megabyte byte by byte costs linear work and holds no more than the frame', () => {
  const bytes = manyhands.Frame.encodeDelimited({ id: 1, data: new Uint8Array(300_000) }).finish()
  let frames = 0
  const decoder = new FrameDecoder(() => frames++)
  for (let at = 0; at < bytes.length; at++) {
    decoder.push(bytes.subarray(at, at + 1))
    if (at % 50_000 === 0) expect(decoder.partialBytes).toBe(at + 1)
  }
  expect(frames).toBe(1)
})

test.each([
  [
    'one byte more than a frame may have',
    Writer.create()
      .uint32(LIMITS.frameBytes + 1)
      .finish(),
  ],
  ['a prefix that does not end', Uint8Array.of(0x80, 0x80, 0x80, 0x80)],
  ['a body that is no frame', Uint8Array.of(1, 0x0f)],
  ['a group, behind which nothing would be counted', Uint8Array.of(6, 0x8b, 0x01, 0x8c, 0x01, 0x12, 0x00)],
  ['a group within a request', Uint8Array.of(6, 0x12, 0x04, 0x8b, 0x01, 0x8c, 0x01)],
])('refused: %s', (_name, bytes) => {
  expect(() => new FrameDecoder(() => undefined).push(bytes)).toThrow(expect.objectContaining({ code: 'E_PROTOCOL' }))
})
