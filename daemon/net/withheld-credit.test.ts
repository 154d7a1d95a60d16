import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { MOST_WITHHELD_BYTES, WithheldCredit } from './withheld-credit.ts'

const frame = (stream: number, credit: number, { type = 1, flags = 0 } = {}): Buffer => {
  const header = Buffer.alloc(12)
  header.writeUInt8(type, 1)
  header.writeUInt16BE(flags, 2)
  header.writeUInt32BE(stream, 4)
  header.writeUInt32BE(credit, 8)
  return header
}
const read = (header: Buffer): [stream: number, credit: number] => [header.readUInt32BE(4), header.readUInt32BE(8)]

describe('credit that waits', () => {
  test('is added up by stream until something else is sent', () => {
    const credit = new WithheldCredit()
    expect([frame(3, 100), frame(4, 7), frame(3, 50)].map((one) => credit.hold(one))).toEqual([true, true, true])
    expect(credit.take().map(read)).toEqual([
      [3, 150],
      [4, 7],
    ])
    expect(credit.take()).toEqual([])
  })

  test('is no frame with data, none that opens, ends or resets a stream, no ping and no farewell', () => {
    const credit = new WithheldCredit()
    for (const flags of [1, 2, 4, 8]) expect(credit.hold(frame(3, 0, { flags }))).toBe(false)
    for (const type of [0, 2, 3]) expect(credit.hold(frame(3, 0, { type }))).toBe(false)
    expect(credit.hold(Buffer.concat([frame(3, 1), Buffer.alloc(1)]))).toBe(false)
    expect(credit.take()).toEqual([])
  })

  test('never is so much that the sender could starve, for any stream, and none of it is lost', () => {
    const update = fc.record({ stream: fc.integer({ min: 1, max: 100 }), bytes: fc.integer({ min: 1, max: 1 << 18 }) })
    fc.assert(
      fc.property(fc.array(update, { maxLength: 300 }), (updates) => {
        const credit = new WithheldCredit()
        const owed = new Map<number, number>()
        const given = new Map<number, number>()
        const give = ([stream, bytes]: [number, number]): unknown => given.set(stream, (given.get(stream) ?? 0) + bytes)
        for (const { stream, bytes } of updates) {
          owed.set(stream, (owed.get(stream) ?? 0) + bytes)
          const one = frame(stream, bytes)
          if (!credit.hold(one)) for (const sent of [...credit.take(), one]) give(read(sent))
          for (const [id, total] of owed) expect(total - (given.get(id) ?? 0)).toBeLessThan(MOST_WITHHELD_BYTES)
        }
        for (const sent of credit.take()) give(read(sent))
        expect(given).toEqual(owed)
      }),
    )
  })
})
