import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createMark, decodeSlot, encodeSlot, MarkWriter, readMark } from './mark.ts'
import { MarkKeeper } from './mark-keeper.ts'
import { CHAIN_START } from './record.ts'

const storeId = new Uint8Array(16).fill(9)
const point = (sequence: number) => ({ sequence, hash: new Uint8Array(32).fill(sequence) })

let root: string
let path: string
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'manyhands-mark-'))
  path = join(root, 'mark')
})
afterEach(() => rm(root, { recursive: true }))

async function writer(): Promise<MarkWriter> {
  const mark = await readMark(path)
  if (mark === undefined) throw new Error('no mark')
  return MarkWriter.open(path, mark)
}

describe('mark file', () => {
  it('is absent, then holds what was written last, over reopening', async () => {
    expect(await readMark(path)).toBeUndefined()
    await createMark(path, storeId, CHAIN_START)
    expect(await readMark(path)).toMatchObject({ sequence: 0, generation: 2 })
    for (const [first, second] of [
      [1, 2],
      [3, 4],
    ] as const) {
      const marks = await writer()
      await marks.write(point(first))
      expect(await readMark(path)).toMatchObject({ sequence: first })
      await marks.write(point(second))
      await marks.close()
      const mark = await readMark(path)
      expect(mark).toMatchObject({ sequence: second })
      expect(Buffer.compare(mark?.storeId ?? new Uint8Array(), storeId)).toBe(0)
    }
    expect((await readFile(path)).length).toBe(8192)
  })

  it('F21: a torn write costs only the mark being written', async () => {
    await createMark(path, storeId, CHAIN_START)
    const marks = await writer()
    await marks.write(point(1))
    const before = await readFile(path)
    await marks.write(point(2))
    await marks.close()
    const after = await readFile(path)
    const slot = before.subarray(0, 4096).equals(after.subarray(0, 4096)) ? 4096 : 0
    for (let torn = 0; torn <= 76; torn++) {
      const bytes = Buffer.concat([after.subarray(0, slot + torn), before.subarray(slot + torn)])
      await writeFile(path, bytes)
      expect([1, 2]).toContain((await readMark(path))?.sequence)
    }
  })

  it('F22: notices every flipped bit of a slot; with both damaged it refuses', async () => {
    const slot = encodeSlot({ ...point(5), storeId, generation: 3 })
    for (let bit = 0; bit < 76 * 8; bit++) {
      const flipped = Buffer.from(slot)
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      expect(decodeSlot(flipped).kind).toBe('damaged')
    }
    for (const bytes of [Buffer.alloc(8192), Buffer.alloc(0), Buffer.from('mhmark')]) {
      await writeFile(path, bytes)
      await expect(readMark(path)).rejects.toMatchObject({ code: 'E_JOURNAL_GAP' })
    }
  })

  it('JRN-10: refuses a mark of a newer version', async () => {
    const { crc32 } = await import('node:zlib')
    const slot = Buffer.from(encodeSlot({ ...point(5), storeId, generation: 3 }))
    slot.writeUInt16BE(2, 6)
    slot.writeUInt32BE(crc32(slot.subarray(0, 72)), 72)
    await writeFile(path, slot)
    await expect(readMark(path)).rejects.toMatchObject({ code: 'E_JOURNAL_VERSION' })
  })
})

describe('MarkKeeper', () => {
  it('covers what was noted soon, and everything on flush', async () => {
    await createMark(path, storeId, CHAIN_START)
    const keeper = new MarkKeeper(await writer(), { delayMs: 1, onFault: (error) => expect.unreachable(String(error)) })
    keeper.note(point(1))
    keeper.note(point(2))
    await expect.poll(async () => (await readMark(path))?.sequence, { timeout: 10_000 }).toBe(2)
    for (let sequence = 3; sequence <= 50; sequence++) keeper.note(point(sequence))
    await keeper.flush()
    expect((await readMark(path))?.sequence).toBe(50)
    await keeper.flush()
    await keeper.close()
  })

  it('reports a fault once and rejects the flush', async () => {
    await createMark(path, storeId, CHAIN_START)
    const marks = await writer()
    const faults: unknown[] = []
    const keeper = new MarkKeeper(marks, { delayMs: 1, onFault: (error) => faults.push(error) })
    await marks.close()
    keeper.note(point(1))
    await expect(keeper.flush()).rejects.toThrow()
    keeper.note(point(2))
    await expect(keeper.flush()).rejects.toThrow()
    expect(faults).toHaveLength(1)
  })
})
