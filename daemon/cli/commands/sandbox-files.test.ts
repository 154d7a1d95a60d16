import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { cliContext } from '../../../test/support/cli-context.ts'
import type { FileEntry } from '../../../sdk/src/index.ts'
import { copy } from './sandbox-files.ts'

const folder = mkdtempSync(join(tmpdir(), 'mh-cp-'))
afterAll(() => rmSync(folder, { recursive: true }))

function contextWith(type: FileEntry['type']) {
  const entry = { name: 'out', type, mode: 0o644, bytes: 1, modifiedMs: 0 }
  async function* stream() {
    yield Buffer.from('x')
  }
  const files = { stat: () => Promise.resolve(entry), list: () => Promise.resolve([]), stream }
  const mesh = { sandboxes: { get: () => Promise.resolve({ files }) } }
  return cliContext({ mesh })
}

it.each([
  ['a file into a folder that is not there', 'file', join(folder, 'missing', 'out')],
  ['a folder below a file', 'folder', join(folder, 'there', 'out')],
] as const)('cp of %s says where it cannot write', async (_, type, to) => {
  writeFileSync(join(folder, 'there'), '')
  await expect(copy(contextWith(type), 'dev:out', to)).rejects.toMatchObject({
    code: 'E_BAD_REQUEST',
    message: `Cannot write ${to}`,
  })
})
