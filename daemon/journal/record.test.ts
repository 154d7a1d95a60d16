import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ChainVerifier } from './chain.ts'
import { CHAIN_START, type ChainPoint, decodeRecord, encodeBlock, type Fact, recordBytes } from './record.ts'

const types = new Set(['a', 'task.submitted', `z${'9'.repeat(63)}`])
const fact: fc.Arbitrary<Fact> = fc.record({
  type: fc.constantFrom(...types),
  body: fc.uint8Array({ maxLength: 300 }),
})
const blocks = fc.array(fc.array(fact, { minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 5 })

interface Encoded {
  readonly stored: { first: number; block: Uint8Array }[]
  readonly head: ChainPoint
}

function encode(groups: readonly (readonly Fact[])[], start = CHAIN_START): Encoded {
  let head = start
  const stored = groups.map((group) => {
    const first = head.sequence + 1
    const encoded = encodeBlock(group, head)
    head = encoded.head
    return { first, block: encoded.block }
  })
  return { stored, head }
}

function verify(encoded: Encoded, base = CHAIN_START): ChainPoint {
  const verifier = new ChainVerifier({ base, acknowledged: encoded.head, types })
  for (const { first, block } of encoded.stored) verifier.block(first, block)
  return verifier.end()
}

describe('record format', () => {
  it('gives back what was encoded', () => {
    fc.assert(
      fc.property(fc.array(fact, { minLength: 1, maxLength: 8 }), fc.nat({ max: 2 ** 48 }), (facts, sequence) => {
        const { block, head } = encodeBlock(facts, { sequence, hash: new Uint8Array(32).fill(7) })
        expect(block.length).toBe(facts.reduce((sum, each) => sum + recordBytes(each), 0))
        let at = 0
        let previous: Uint8Array = new Uint8Array(32).fill(7)
        for (const [index, expected] of facts.entries()) {
          const record = decodeRecord(block, at)
          if (record.kind !== 'record') throw new Error(record.kind)
          expect(record).toMatchObject({ sequence: sequence + index + 1, type: expected.type })
          expect(Buffer.compare(record.body, expected.body)).toBe(0)
          expect(Buffer.compare(record.previous, previous)).toBe(0)
          previous = record.hash
          at = record.end
        }
        expect(at).toBe(block.length)
        expect(head.sequence).toBe(sequence + facts.length)
        expect(Buffer.compare(head.hash, previous)).toBe(0)
      }),
      { seed: 1 },
    )
  })

  it('never throws and never accepts on random bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat({ max: 200 }), (bytes, at) => {
        expect(decodeRecord(bytes, Math.min(at, bytes.length)).kind).toBe('damaged')
      }),
      { seed: 2, numRuns: 1000 },
    )
  })

  it('tells a newer record from a damaged one', async () => {
    const { crc32 } = await import('node:zlib')
    const { block } = encodeBlock([{ type: 'a', body: new Uint8Array(3) }], CHAIN_START)
    const bytes = Buffer.from(block)
    bytes[8] = 2
    expect(decodeRecord(bytes, 0)).toMatchObject({ kind: 'damaged' })
    bytes.writeUInt32BE(crc32(bytes.subarray(8)), 4)
    expect(decodeRecord(bytes, 0)).toEqual({ kind: 'newer', version: 2 })
  })
})

describe('ChainVerifier', () => {
  it('accepts every chain that was encoded, from any base', () => {
    fc.assert(
      fc.property(blocks, fc.nat({ max: 1000 }), (groups, sequence) => {
        const base = { sequence, hash: new Uint8Array(32).fill(3) }
        const encoded = encode(groups, base)
        expect(verify(encoded, base).sequence).toBe(encoded.head.sequence)
      }),
      { seed: 3 },
    )
  })

  it('names the record in which any one bit is flipped', () => {
    fc.assert(
      fc.property(blocks, fc.nat(), fc.nat(), (groups, whichByte, bit) => {
        const encoded = encode(groups)
        const total = encoded.stored.reduce((sum, { block }) => sum + block.length, 0)
        let at = whichByte % total
        let sequence = 0
        for (const [index, { first, block }] of encoded.stored.entries()) {
          if (at >= block.length) {
            at -= block.length
            continue
          }
          const flipped = Buffer.from(block)
          flipped[at] = (flipped[at] ?? 0) ^ (1 << (bit % 8))
          encoded.stored[index] = { first, block: flipped }
          sequence = first
          for (let end = 0; ; sequence++) {
            const record = decodeRecord(block, end)
            if (record.kind !== 'record') throw new Error('the fixture is damaged')
            end = record.end
            if (at < end) break
          }
          break
        }
        expect(() => verify(encoded)).toThrow(expect.objectContaining({ code: 'E_JOURNAL_GAP', details: { sequence } }))
      }),
      { seed: 4, numRuns: 300 },
    )
  })

  it('names the first missing record when a block is gone, and says rollback when the last one is', () => {
    fc.assert(
      fc.property(blocks, fc.nat(), (groups, which) => {
        const encoded = encode(groups)
        const at = which % encoded.stored.length
        const last = at === encoded.stored.length - 1
        const [gone] = encoded.stored.splice(at, 1)
        const expected = last
          ? {
              code: 'E_JOURNAL_ROLLBACK',
              details: { head: (gone?.first ?? 0) - 1, acknowledged: encoded.head.sequence },
            }
          : { code: 'E_JOURNAL_GAP', details: { sequence: gone?.first } }
        expect(() => verify(encoded)).toThrow(expect.objectContaining(expected))
      }),
      { seed: 5 },
    )
  })

  it('refuses a sound chain that is not the one that was acknowledged', () => {
    const body = (byte: number) => [[{ type: 'a', body: Uint8Array.of(byte) }], [{ type: 'a', body: new Uint8Array() }]]
    const other = { ...encode(body(1)), head: encode(body(2)).head }
    expect(() => verify(other)).toThrow(expect.objectContaining({ code: 'E_JOURNAL_ROLLBACK' }))
  })

  it('refuses a block that was cut at a record boundary before another', () => {
    const encoded = encode([
      [1, 2].map((n) => ({ type: 'a', body: Uint8Array.of(n) })),
      [{ type: 'a', body: Uint8Array.of(3) }],
    ])
    const [one, two] = encoded.stored
    if (one === undefined || two === undefined) throw new Error('no fixture')
    const cut = { ...encoded, stored: [{ first: 1, block: one.block.subarray(0, one.block.length / 2) }, two] }
    expect(() => verify(cut)).toThrow(expect.objectContaining({ code: 'E_JOURNAL_GAP', details: { sequence: 2 } }))
  })
})
