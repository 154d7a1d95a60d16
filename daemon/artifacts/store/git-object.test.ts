import { describe, expect, test } from 'vitest'
import { decodeTree, encodeTree, rawName, shownName } from './git-object.ts'

describe('decodeTree()', () => {
  const entry = (mode: string, name: string): Buffer =>
    Buffer.concat([Buffer.from(`${mode} ${name}\0`), Buffer.alloc(20, 7)])

  test("reads Git's old mode of a file its group may write", () => {
    expect(decodeTree(entry('100664', 'x'))).toEqual([{ mode: '100644', name: 'x', oid: '07'.repeat(20) }])
  })

  test.each([
    ['an unknown mode', entry('100600', 'x')],
    ['no mode', Buffer.from('x')],
    ['no end of the name', Buffer.from('100644 name')],
    ['an id that is cut', entry('100644', 'x').subarray(0, -1)],
    ['something after the last', Buffer.concat([entry('100644', 'x'), Buffer.from('1')])],
  ])('refuses %s', (_, bytes) => {
    expect(() => decodeTree(bytes)).toThrow(expect.objectContaining({ code: 'E_STORAGE' }))
  })
})

describe('names of entries', () => {
  test('are bytes: what is no UTF-8 is written as it was read', () => {
    const odd = Buffer.concat([Buffer.from('100644 f'), Buffer.from([0xff, 0xc3, 0x28, 0]), Buffer.alloc(20, 7)])
    expect(Buffer.from(encodeTree(decodeTree(odd)).content).equals(odd)).toBe(true)
  })

  test('are texts for people', () => {
    expect(shownName(rawName('größe/日本'))).toBe('größe/日本')
  })
})
