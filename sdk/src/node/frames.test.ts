import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { FrameBatch, FrameReader as DaemonReader, payloadId } from '../../../protocol/duplex-frame.ts'
import { FRAME } from '../duplex.ts'
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

const noData = (): never => {
  throw new Error('No data was sent')
}

/** What is read, each byte of data on its own, as it may come in any pieces. */
function collect() {
  const seen: string[] = []
  return {
    seen,
    frame: (channel: number, _type: number, bytes: Buffer, start: number, end: number) =>
      void seen.push(`${channel} ${bytes.toString('utf8', start, end)}`),
    data: (channel: number, lane: number, bytes: Uint8Array) => {
      for (const byte of bytes) seen.push(`${channel} ${lane} ${byte}`)
    },
  }
}

function daemonReads(parts: Iterable<Buffer>): string[] {
  const { seen, frame, data } = collect()
  const reader = new DaemonReader(frame, data)
  for (const part of parts) reader.push(part)
  expect(reader.held).toBe(0)
  return seen
}

function sdkReads(parts: Iterable<Buffer>): string[] {
  const { seen, frame, data } = collect()
  const reader = new FrameReader(frame, data)
  for (const part of parts) reader.feed(part)
  return seen
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
        }, noData)
        for (const piece of pieces(Buffer.concat(batch.take()), sizes)) reader.feed(piece)
        expect(got).toEqual(sent.map((frame) => ({ ...frame, text: Buffer.from(frame.text).toString() })))
      }),
      { numRuns: 60 },
    )
  })

  it('data goes both ways between other frames, in any pieces, and is not copied when it is much', () => {
    const data = fc.record({
      channel: fc.integer({ min: 1, max: 9 }),
      lane: fc.integer({ min: 0, max: 2 }),
      size: fc.oneof(fc.nat(300), fc.nat(70_000)),
    })
    fc.assert(
      fc.property(fc.array(data, { minLength: 1, maxLength: 12 }), cuts, (sent, sizes) => {
        const written: Buffer[] = []
        const writer = new FrameWriter((bytes) => written.push(Buffer.from(bytes)))
        const batch = new FrameBatch()
        const bodies = sent.map(({ size }, at) => Buffer.alloc(size, `${at}!`))
        for (const [at, { channel, lane }] of sent.entries()) {
          writer.data(channel, FRAME.data, lane, bodies[at] ?? Buffer.alloc(0))
          batch.data(channel, FRAME.data, lane, bodies[at] ?? Buffer.alloc(0))
          writer.frame(channel, FRAME.finish, -1, `${at}`)
          batch.text(channel, FRAME.finish, `${at}`)
        }
        writer.flush()
        const expected = sent.flatMap(({ channel, lane }, at) => [
          ...Array.from(bodies[at] ?? [], (byte) => `${channel} ${lane} ${byte}`),
          `${channel} ${at}`,
        ])
        for (const [bytes, read] of [
          [Buffer.concat(written), daemonReads],
          [Buffer.concat(batch.take()), sdkReads],
        ] as const)
          expect(read(pieces(bytes, sizes))).toEqual(expected)
      }),
      { numRuns: 30 },
    )
    const large = Buffer.alloc(8 << 10)
    const batch = new FrameBatch()
    batch.data(1, FRAME.data, 1, large)
    expect(batch.take()[1]).toBe(large)
  })

  it('SDK-07 random bytes are frames or E_PROTOCOL, and never hold more than they announce', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 4000 }), cuts, (bytes, sizes) => {
        const reader = new FrameReader(
          () => undefined,
          () => undefined,
        )
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
