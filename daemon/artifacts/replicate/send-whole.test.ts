import { randomBytes } from 'node:crypto'
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { MAX_BAND, PacketReader } from '../../../protocol/artifact/pkt-line.ts'
import { readPack } from './read-pack.ts'
import { wholePackPackets } from './send-whole.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'send-whole-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

/** What an asker reads of a file that is said to have so many bytes. */
async function received(content: Buffer, bytes: number): Promise<Buffer> {
  const path = join(folder, 'pack')
  await writeFile(path, content)
  const file = await open(path, 'r')
  try {
    const parts: Buffer[] = []
    const packets = new PacketReader(wholePackPackets({ file, bytes, tips: new Set() }))
    for await (const part of readPack(packets)) parts.push(Buffer.from(part))
    return Buffer.concat(parts)
  } finally {
    await file.close()
  }
}

test.each([1, MAX_BAND - 1, MAX_BAND, MAX_BAND + 1, 3 * MAX_BAND])(
  'a file of %i bytes is read by an asker as it is',
  async (length) => {
    const content = randomBytes(length)
    expect((await received(content, length)).equals(content)).toBe(true)
  },
)

test('a file that was cut meanwhile fails, and the answer never ends well', async () => {
  await expect(received(randomBytes(MAX_BAND + 5), MAX_BAND + 6)).rejects.toMatchObject({ code: 'E_STORAGE' })
})
