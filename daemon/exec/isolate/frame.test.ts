import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Frame, FrameError, FrameReader, FrameWriter, HEADER_BYTES } from './frame.ts'

const arbitraryFrame = fc.record({
  type: fc.integer({ min: 0, max: 255 }),
  job: fc.nat(0xffff_ffff),
  ref: fc.nat(0xffff_ffff),
  flag: fc.integer({ min: 0, max: 255 }),
  body: fc.string({ unit: 'grapheme', maxLength: 200 }),
})

async function written(
  frames: readonly { type: number; job: number; ref: number; flag: number; body: string }[],
): Promise<Buffer[]> {
  const chunks: Buffer[] = []
  const writer = new FrameWriter((chunk) => chunks.push(chunk))
  for (const { type, job, ref, flag, body } of frames) writer.send(type, job, ref, flag, body)
  await new Promise((resolve) => setImmediate(resolve))
  return chunks
}

describe('FrameWriter and FrameReader', () => {
  it('hands out what was sent when told to, once, and what comes later at the end of the turn', async () => {
    const chunks: Buffer[] = []
    const writer = new FrameWriter((chunk) => chunks.push(chunk))
    writer.flush()
    writer.send(1, 1, 0, 0, 'now')
    writer.flush()
    writer.send(1, 1, 0, 0, 'later')
    expect(chunks.map((chunk) => chunk.toString('utf8', HEADER_BYTES))).toEqual(['now'])
    await new Promise((resolve) => setImmediate(resolve))
    expect(chunks.map((chunk) => chunk.toString('utf8', HEADER_BYTES))).toEqual(['now', 'later'])
  })

  it('carry any frames through any cuts of the stream', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(arbitraryFrame, { minLength: 1, maxLength: 20 }),
        fc.integer({ min: 1, max: 300 }),
        async (frames, step) => {
          const [chunk = Buffer.alloc(0), ...more] = await written(frames)
          expect(more).toEqual([])
          const got: unknown[] = []
          const reader = new FrameReader(
            () => 4096,
            (frame) => got.push({ ...frame, body: frame.body.toString() }),
          )
          for (let at = 0; at < chunk.length; at += step) reader.push(chunk.subarray(at, at + step))
          expect(got).toEqual(frames)
        },
      ),
      { numRuns: 60 },
    )
  })

  it('refuse a frame before buffering it', () => {
    const head = Buffer.alloc(HEADER_BYTES)
    head.writeUInt32LE(0xffff_ffff, 0)
    const reader = new FrameReader(
      () => 1 << 20,
      () => {},
    )
    expect(() => reader.push(head)).toThrow(FrameError)
  })

  it('ask the limit with the state left by the frame before', async () => {
    const [chunk = Buffer.alloc(0)] = await written([
      { type: 1, job: 1, ref: 0, flag: 0, body: 'a' },
      { type: 1, job: 1, ref: 0, flag: 0, body: 'b' },
    ])
    const seen: Frame[] = []
    const reader = new FrameReader(
      () => (seen.length === 0 ? 10 : -1),
      (frame) => seen.push(frame),
    )
    expect(() => reader.push(chunk)).toThrow(FrameError)
    expect(seen.length).toBe(1)
  })

  it('carry a frame of megabytes that comes in many chunks', async () => {
    const body = 'x'.repeat(5 << 20)
    const [chunk = Buffer.alloc(0)] = await written([{ type: 9, job: 7, ref: 0, flag: 0, body }])
    let bytes = 0
    const reader = new FrameReader(
      () => 8 << 20,
      (frame) => {
        bytes = frame.body.length
      },
    )
    for (let at = 0; at < chunk.length; at += 65_536) reader.push(chunk.subarray(at, at + 65_536))
    expect(bytes).toBe(body.length)
  })
})
