import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { FrameBatch, FrameReader as DaemonReader, payloadId } from '../../../protocol/duplex-frame.ts'
import { FrameReader } from './frame-reader.ts'
import { FrameWriter } from './frame-writer.ts'

interface Frame {
  readonly channel: number
  readonly type: number
  readonly id: number
  readonly text: string
}

const frames = fc.array(
  fc.record({
    channel: fc.integer({ min: 0, max: 0xffff_ffff }),
    type: fc.integer({ min: 1, max: 16 }),
    id: fc.integer({ min: 0, max: 0xffff_ffff }),
    text: fc.oneof(fc.string({ unit: 'binary' }), fc.constant('é'.repeat(70_000)), fc.constant('')),
  }),
  { maxLength: 30 },
)

const cuts = fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1, maxLength: 20 })

/** The bytes in pieces of the given sizes, over and over. */
function* pieces(bytes: Buffer, sizes: readonly number[]): Generator<Buffer> {
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const size = sizes[turn % sizes.length] ?? 1
    yield Buffer.from(bytes.subarray(at, at + size))
    at += size
  }
}

describe('the frames of the duplex', () => {
  it('SDK to daemon: what is written is read, in any pieces', () => {
    fc.assert(
      fc.property(frames, cuts, (sent, sizes) => {
        const written: Buffer[] = []
        const writer = new FrameWriter((bytes) => written.push(Buffer.from(bytes)))
        for (const { channel, type, id, text } of sent) writer.frame(channel, type, id, text)
        writer.flush()
        const got: Frame[] = []
        const reader = new DaemonReader((channel, type, bytes, start, end) => {
          got.push({ channel, type, id: payloadId(bytes, start, end), text: bytes.toString('utf8', start + 4, end) })
        })
        for (const piece of pieces(Buffer.concat(written), sizes)) reader.push(piece)
        expect(got).toEqual(sent.map((frame) => ({ ...frame, text: Buffer.from(frame.text).toString() })))
      }),
      { numRuns: 60 },
    )
  })

  it('daemon to SDK: what is written is read, in any pieces', () => {
    fc.assert(
      fc.property(frames, cuts, (sent, sizes) => {
        const batch = new FrameBatch()
        for (const { channel, type, id, text } of sent) batch.idText(channel, type, id, text)
        const got: Frame[] = []
        const reader = new FrameReader((channel, type, bytes, start, end) => {
          got.push({ channel, type, id: bytes.readUInt32LE(start), text: bytes.toString('utf8', start + 4, end) })
        })
        for (const piece of pieces(Buffer.concat(batch.take()), sizes)) reader.feed(piece)
        expect(got).toEqual(sent.map((frame) => ({ ...frame, text: Buffer.from(frame.text).toString() })))
      }),
      { numRuns: 60 },
    )
  })

  it('SDK-07 random bytes are frames or E_PROTOCOL, and never hold more than they announce', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 4000 }), cuts, (bytes, sizes) => {
        const reader = new FrameReader(() => undefined)
        try {
          for (const piece of pieces(Buffer.from(bytes), sizes)) reader.feed(piece)
        } catch (error) {
          expect(error).toMatchObject({ code: 'E_PROTOCOL' })
        }
      }),
    )
  })

  it('sends all frames of a turn as one write, and no frame above the limit', async () => {
    const written: number[] = []
    const writer = new FrameWriter((bytes) => written.push(bytes.length))
    for (let n = 0; n < 100; n++) writer.frame(1, 4, n, 'text')
    await Promise.resolve().then(() => writer.frame(1, 4, 100, 'from a promise'))
    await new Promise(setImmediate)
    expect(written.length).toBe(1)
    expect(() => writer.frame(1, 4, 1, 'x'.repeat(17 << 20))).toThrow(expect.objectContaining({ code: 'E_TOO_LARGE' }))
    expect(writer.pending).toBe(0)
  })
})
