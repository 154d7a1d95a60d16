import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { DUPLEX } from './api.ts'
import { FrameBatch, FrameReader, payloadId } from './duplex-frame.ts'

interface Frame {
  channel: number
  type: number
  id?: number
  text: string
}

const withId: ReadonlySet<number> = new Set([4, 5, 6, 7, 8, 9])
const u32 = fc.integer({ min: 0, max: 0xffff_ffff })
const frame = fc
  .record({
    channel: u32,
    type: fc.constantFrom(...Object.values(DUPLEX.type)),
    id: u32,
    text: fc.string({ unit: 'grapheme', maxLength: 300 }),
  })
  .map(({ id, ...rest }): Frame => (withId.has(rest.type) ? { ...rest, id } : rest))

function encode(frames: readonly Frame[]): Buffer {
  const batch = new FrameBatch()
  for (const { channel, type, id, text } of frames) {
    if (id === undefined) batch.text(channel, type, text)
    else batch.idText(channel, type, id, text)
  }
  const bytes = batch.bytes
  const all = Buffer.concat(batch.take())
  expect(all.length).toBe(bytes)
  return all
}
function reader(into: Frame[]): FrameReader {
  return new FrameReader((channel, type, bytes, start, end) => {
    if (!withId.has(type)) into.push({ channel, type, text: bytes.toString('utf8', start, end) })
    else into.push({ channel, type, id: payloadId(bytes, start, end), text: bytes.toString('utf8', start + 4, end) })
  })
}

describe('duplex frames', () => {
  it('come back as they went, however the stream is cut', () => {
    fc.assert(
      fc.property(
        fc.array(frame, { maxLength: 30 }),
        fc.array(fc.integer({ min: 1, max: 100 }), { minLength: 1 }),
        (frames, cuts) => {
          const bytes = encode(frames)
          const seen: Frame[] = []
          const target = reader(seen)
          for (let at = 0, i = 0; at < bytes.length; i++) {
            const size = cuts[i % cuts.length] ?? 1
            target.push(bytes.subarray(at, at + size))
            at += size
          }
          expect(seen).toEqual(frames)
          expect(target.held).toBe(0)
        },
      ),
    )
  })

  it('survive a batch that is taken in between and fills several slabs', () => {
    const batch = new FrameBatch()
    const seen: Frame[] = []
    const target = reader(seen)
    const sizes = [10, 40_000, 60_000, 200_000, 5, 64 << 10]
    for (const [i, size] of sizes.entries()) {
      batch.text(i, DUPLEX.type.end, 'é'.repeat(size))
      if (i % 2 === 0) for (const part of batch.take()) target.push(Buffer.from(part))
    }
    for (const part of batch.take()) target.push(Buffer.from(part))
    expect(seen.map(({ text }) => text.length)).toEqual(sizes)
  })

  it('never throw anything but E_PROTOCOL for foreign bytes, and hold no more than one frame', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const target = new FrameReader(() => undefined)
        try {
          target.push(Buffer.from(bytes))
        } catch (error) {
          expect(error).toMatchObject({ code: 'E_PROTOCOL' })
        }
        expect(target.held).toBeLessThanOrEqual(bytes.length)
      }),
    )
  })

  it.each([
    ['a length of zero', [0, 0, 0, 0, 1, 0, 0, 0, 1]],
    ['a length too short for its header', [4, 0, 0, 0, 1, 0, 0, 0, 1]],
    ['a length beyond the cap', [1, 0, 0, 1, 1, 0, 0, 0, 1]],
    ['a length of 4 GiB', [255, 255, 255, 255, 1, 0, 0, 0, 1]],
    ['an unknown type', [5, 0, 0, 0, 1, 0, 0, 0, 99]],
  ])('refuse %s', (_, bytes) => {
    expect(() => new FrameReader(() => undefined).push(Buffer.from(bytes))).toThrow(/Cannot read a frame/)
  })

  it('refuse to send more than a frame may hold, and add nothing then', () => {
    const batch = new FrameBatch()
    expect(() => batch.text(1, DUPLEX.type.end, 'x'.repeat(DUPLEX.maxFrameBytes))).toThrow(/at most/)
    expect(batch.take()).toEqual([])
  })

  it('refuse an id+text payload without an id', () => {
    expect(() => payloadId(Buffer.alloc(3), 0, 3)).toThrow(/id of four bytes/)
  })
})
