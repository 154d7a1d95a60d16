import { expect, test } from 'vitest'
import { MeshError } from '../../../protocol/errors.ts'
import { begun } from './read-pack.ts'

const HEADER = Buffer.from('5041434b0000000200000007', 'hex')

async function* inPieces(bytes: Buffer, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

async function gathered(bytes: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = []
  for await (const piece of bytes) pieces.push(piece)
  return Buffer.concat(pieces)
}

test.each([1, 5, 12, 1000])('a pack is short or long, and stays whole, in pieces of %i bytes', async (size) => {
  for (const [length, isShort] of [
    [100, true],
    [101, false],
  ] as const) {
    const pack = Buffer.concat([HEADER, Buffer.alloc(length - HEADER.length, 'x')])
    const found = await begun(inPieces(pack, size), 100)
    expect([found.count, found.isShort]).toEqual([7, isShort])
    expect((await gathered(found.bytes)).equals(pack)).toBe(true)
  }
})

test.each([
  ['nothing', Buffer.alloc(0)],
  ['half a header', HEADER.subarray(0, 8)],
  ['something else', Buffer.alloc(64, 'y')],
])('what begins with %s is no pack', async (_, bytes) => {
  await expect(begun(inPieces(bytes, 7), 32)).rejects.toThrow(MeshError)
})
