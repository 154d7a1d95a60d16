import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { manyhands } from '../proto/gen/wire.js'
import { decodeBounded, isPlainText } from './bounded-decode.ts'
import { MeshError } from './errors.ts'

const bounds = { what: 'list', maxBytes: 1 << 20, maxFields: 100 }

describe('bounded decoding', () => {
  test('a million empty entries are refused before an object is made', () => {
    const bomb = Buffer.alloc(1 << 20, Buffer.from([0x22, 0x00]))
    const start = performance.now()
    expect(() => decodeBounded(manyhands.MemberList, bomb, bounds)).toThrow(MeshError)
    expect(performance.now() - start).toBeLessThan(1_000)
  })

  test('too many bytes are refused', () => {
    expect(() => decodeBounded(manyhands.Card, new Uint8Array(11), { what: 'card', maxBytes: 10 })).toThrow(
      'may have 10',
    )
  })

  test('every prefix and every flipped byte of a message decodes or is refused with a typed error', () => {
    const bytes = manyhands.Member.encode({
      nodeId: 'x'.repeat(40),
      name: 'name',
      role: 'admin',
      sinceEpoch: 2 ** 40,
    }).finish()
    fc.assert(
      fc.property(fc.nat(bytes.length), fc.nat(bytes.length - 1), fc.nat(255), (end, at, value) => {
        const bad = Uint8Array.from(bytes.subarray(0, end))
        if (at < bad.length) bad[at] = value
        try {
          decodeBounded(manyhands.Member, bad, bounds)
        } catch (error) {
          expect(error).toMatchObject({ code: 'E_PROTOCOL' })
        }
      }),
    )
  })

  test('plain text has no control, bidi or broken characters', () => {
    for (const bad of ['a\nb', '\u001b[2J', 'a\u202eb', '\ud800', 'a\ufffd', 'x'.repeat(65)])
      expect(isPlainText(bad, 64)).toBe(false)
    for (const good of ['', 'host-1', 'Füße', '手']) expect(isPlainText(good, 64)).toBe(true)
  })
})
