import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeRow, encodeRow } from './row.ts'
import { blockKey, blockSequence, BLOCKS, rowKey, rowKeyText, tableRange } from './store-keys.ts'

const table = fc.stringMatching(/^[a-z0-9-]{1,32}$/)
const key = fc.string({ unit: 'grapheme', maxLength: 20 })

describe('row format', () => {
  it('gives back the value under its own key and under no other', () => {
    fc.assert(
      fc.property(table, key, table, key, fc.uint8Array(), (t1, k1, t2, k2, value) => {
        const here = rowKey(t1, k1)
        const row = encodeRow(here, value)
        expect(Buffer.compare(decodeRow(here, row), value)).toBe(0)
        if (t1 !== t2 || k1 !== k2) {
          expect(() => decodeRow(rowKey(t2, k2), row)).toThrow(expect.objectContaining({ code: 'E_JOURNAL_GAP' }))
        }
      }),
      { seed: 1 },
    )
  })

  it('JRN-05: notices every flipped bit', () => {
    const here = rowKey('task', 'key')
    const row = encodeRow(here, Buffer.from('some value'))
    for (let bit = 0; bit < row.length * 8; bit++) {
      const flipped = Buffer.from(row)
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      expect(() => decodeRow(here, flipped)).toThrow(expect.objectContaining({ code: 'E_JOURNAL_GAP' }))
    }
    expect(() => decodeRow(here, row.subarray(0, 4))).toThrow(expect.objectContaining({ code: 'E_JOURNAL_GAP' }))
  })
})

describe('store keys', () => {
  it('JRN-09: keep every row within its table and prefix, whatever the text', () => {
    fc.assert(
      fc.property(table, key, table, key, key, (t1, k1, t2, k2, prefix) => {
        const { gte, lt } = tableRange(t2, { prefix })
        const stored = rowKey(t1, k1)
        const inside = gte !== undefined && Buffer.compare(stored, gte) >= 0 && Buffer.compare(stored, lt) < 0
        expect(inside).toBe(t1 === t2 && k1.startsWith(prefix))
        expect(rowKeyText(t1, stored)).toBe(k1)
        expect(Buffer.compare(rowKey(t2, k2), stored) === 0).toBe(t1 === t2 && k1 === k2)
        expect(blockSequence(stored)).toBeUndefined()
      }),
      { seed: 2, numRuns: 500 },
    )
  })

  it('order blocks by their sequence', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), fc.maxSafeNat(), (a, b) => {
        expect(Buffer.compare(blockKey(a), blockKey(b))).toBe(Math.sign(a - b))
        expect(blockSequence(blockKey(a))).toBe(a)
        expect(Buffer.compare(blockKey(a), BLOCKS.first)).toBe(1)
        expect(Buffer.compare(blockKey(a), BLOCKS.end)).toBe(-1)
      }),
      { seed: 3 },
    )
  })
})
