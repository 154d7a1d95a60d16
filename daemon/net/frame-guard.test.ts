import fc from 'fast-check'
import { expect, test } from 'vitest'
import { FrameGuard } from './frame-guard.ts'

const MAX = 1000
const guard = (now = () => 0) => new FrameGuard({ maxDataBytes: MAX, now })

function frame(type: number, flags: number, length: number, body = 0): Uint8Array {
  const bytes = new Uint8Array(12 + body).fill(0xff, 12)
  const view = new DataView(bytes.buffer)
  view.setUint8(1, type)
  view.setUint16(2, flags)
  view.setUint32(4, 1)
  view.setUint32(8, length)
  return bytes
}

test('ordinary frames pass however they are cut, and bodies are never taken for headers', () => {
  const frames = fc.array(
    fc.oneof(
      fc.nat(MAX).map((length) => frame(0, 0, length, length)),
      fc.nat(1 << 20).map((step) => frame(1, 0, step)),
      fc.constant(frame(2, 2, 7)),
    ),
    { maxLength: 30 },
  )
  fc.assert(
    fc.property(frames, fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 30 }), (sent, steps) => {
      const bytes = Buffer.concat(sent)
      const watching = guard()
      for (let at = 0, step = 0; at < bytes.length; step++) {
        const end = at + (steps[step % steps.length] ?? 1)
        expect(watching.inspect(bytes.subarray(at, end)).complaint).toBe(undefined)
        at = end
      }
      expect(watching.inspect(frame(0, 0, MAX + 1)).complaint).toBe('a frame is larger than its window')
    }),
  )
})

test('pings, new streams and ended streams are held to a rate that recovers with time', () => {
  let now = 0
  const watching = guard(() => now)
  const burst = (make: () => Uint8Array): number => {
    let passed = 0
    while (passed < 10_000 && watching.inspect(make()).complaint === undefined) passed++
    return passed
  }
  expect(burst(() => frame(2, 1, 0))).toBe(32)
  now += 1000
  expect(burst(() => frame(2, 1, 0))).toBe(4)
  expect(burst(() => frame(1, 1, 0))).toBe(1024)
  expect(burst(() => frame(1, 4, 0))).toBe(4096)
  // answers to our own pings are the muxer's to judge
  expect(watching.inspect(frame(2, 2, 0)).complaint).toBe(undefined)
})

test('a header that ends a stream is pointed out, also in pieces', () => {
  const fin = frame(1, 4, 0)
  const watching = guard()
  expect(watching.inspect(Buffer.concat([frame(0, 0, 5, 5), fin, frame(2, 2, 0)]))).toEqual({
    inspected: 29,
    endsStream: true,
  })
  expect(guard().inspect(fin.subarray(0, 11))).toEqual({ inspected: 11, endsStream: false })
  const pieces = guard()
  pieces.inspect(fin.subarray(0, 11))
  expect(pieces.inspect(Buffer.concat([fin.subarray(11), fin]))).toEqual({ inspected: 1, endsStream: true })
})
