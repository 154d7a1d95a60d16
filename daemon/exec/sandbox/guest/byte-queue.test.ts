import fc from 'fast-check'
import { expect, it } from 'vitest'
import { ByteQueue, collectBytes } from './byte-queue.ts'
import type { OutputChunk } from './guest-connection.ts'
import { OUTPUT_PIECES } from './output-pieces.ts'

const outputs = fc.array(
  fc.record({
    fd: fc.constantFrom<1 | 2>(1, 2),
    size: fc.oneof(
      { weight: 9, arbitrary: fc.integer({ min: 0, max: 3 }) },
      { weight: 1, arbitrary: fc.integer({ min: 0, max: 5_000 }) },
    ),
  }),
  { minLength: 0, maxLength: 2_000, size: 'max' },
)

it('gives every byte of each descriptor in its order, and gives back each byte of credit', async () => {
  await fc.assert(
    fc.asyncProperty(outputs, async (list) => {
      let taken = 0
      const queue = new ByteQueue<OutputChunk>(
        OUTPUT_PIECES,
        (bytes) => void (taken += bytes),
        () => undefined,
      )
      const sent = { 1: [] as Uint8Array[], 2: [] as Uint8Array[] }
      for (const [n, { fd, size }] of list.entries()) {
        sent[fd].push(new Uint8Array(size).fill(n))
        queue.push({ fd, bytes: new Uint8Array(size).fill(n) })
      }
      queue.end()
      const got = { 1: [] as Uint8Array[], 2: [] as Uint8Array[] }
      for await (const { fd, bytes } of queue) got[fd].push(bytes)
      for (const fd of [1, 2] as const) expect(Buffer.concat(got[fd]).equals(Buffer.concat(sent[fd]))).toBe(true)
      expect(taken).toBe(list.reduce((sum, { size }) => sum + size, 0))
    }),
    { numRuns: 50 },
  )
})

it('SBX-04: holds no more pieces than its bytes are worth, however small they come', async () => {
  const queue = new ByteQueue<OutputChunk>(
    OUTPUT_PIECES,
    () => undefined,
    () => undefined,
  )
  for (let n = 0; n < 1 << 20; n++) queue.push({ fd: n % 2 === 0 ? 1 : 2, bytes: new Uint8Array(1) })
  queue.end()
  let [pieces, bytes] = [0, 0]
  for await (const chunk of queue) {
    pieces += 1
    bytes += chunk.bytes.length
  }
  expect(bytes).toBe(1 << 20)
  expect(pieces).toBeLessThan(1_000)
})

it('collects small pieces, and nothing of empty ones', () => {
  const pieces: Uint8Array[] = []
  const one = new Uint8Array(1)
  for (let n = 0; n < 100_000; n++) {
    one[0] = n
    collectBytes(pieces, one)
    collectBytes(pieces, new Uint8Array(0))
  }
  expect(pieces.length).toBeLessThan(400)
  expect(Buffer.concat(pieces).equals(Buffer.from(Array.from({ length: 100_000 }, (_, n) => n & 255)))).toBe(true)
})
