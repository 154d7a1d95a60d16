import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { openFile } from './inputs.ts'

const folder = mkdtempSync(join(tmpdir(), 'mh-inputs-'))
afterAll(() => rmSync(folder, { recursive: true }))

test('a file is opened before anybody reads it, so that one that cannot be read is told at once', async () => {
  writeFileSync(join(folder, 'there'), 'bytes')
  const pieces: Uint8Array[] = []
  for await (const piece of await openFile(join(folder, 'there'))) pieces.push(piece)
  expect(Buffer.concat(pieces).toString()).toBe('bytes')
  await expect(openFile(join(folder, 'missing'))).rejects.toMatchObject({ code: 'E_NOT_FOUND' })
  await expect(openFile(folder)).rejects.toThrow(/it is a folder/)
})
