import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { crc32c } from './crc32c.ts'
import { LevelStore } from './level-store.ts'
import { checkTables, isSound } from './table-check.ts'

it('crc32c() gives the published check values', () => {
  // RFC 3720, appendix B.4, and the check value of the catalogue of CRC algorithms
  expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283)
  expect(crc32c(Buffer.alloc(32))).toBe(0x8a9136aa)
  expect(crc32c(Buffer.alloc(32, 0xff))).toBe(0x62a8ab43)
  expect(crc32c(Buffer.from(Array.from({ length: 32 }, (_, i) => i)))).toBe(0x46dd794e)
  const bytes = Buffer.from('xx123456789xx')
  expect(crc32c(bytes, 2, 11)).toBe(0xe3069283)
})

it('isSound() accepts what LevelDB writes and notices every flipped bit', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'manyhands-table-'))
  try {
    const write = await LevelStore.open(folder, { create: true })
    for (let i = 0; i < 40; i++) {
      await write.write([{ type: 'put', key: Buffer.from(`key ${i}`), value: Buffer.alloc(300, i) }])
    }
    await write.close()
    // opening copies the log into a table
    const store = await LevelStore.open(folder, { create: false })
    const files = store.tableFiles()
    await checkTables(files)
    await store.close()
    expect(files).toHaveLength(1)
    const file = files[0] ?? ''
    const table = await readFile(file)
    expect(table.length).toBeGreaterThan(12_000)
    const footer = table.length - 48
    let unnoticed = 0
    for (let at = 0; at < table.length; at++) {
      // every byte of what surrounds the data, every 13th of the data; one bit each
      if (at < 12_000 && at % 13 !== 0) continue
      const flipped = Buffer.from(table)
      flipped[at] = (flipped[at] ?? 0) ^ (1 << (at % 8))
      if (isSound(flipped)) {
        unnoticed += 1
        // only the unused padding of the footer is covered by no checksum
        expect(at).toBeGreaterThanOrEqual(footer)
      }
    }
    expect(unnoticed).toBeLessThan(40)
    for (const cut of [0, 1, 47, 48, 1000, table.length - 1]) expect(isSound(table.subarray(0, cut))).toBe(false)
    await writeFile(file, table.subarray(0, -1))
    await expect(checkTables([file])).rejects.toMatchObject({ code: 'E_JOURNAL_GAP' })
    await checkTables([join(folder, 'gone.ldb')])
  } finally {
    await rm(folder, { recursive: true })
  }
})
