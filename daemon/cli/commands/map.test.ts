import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { cliContext } from '../../../test/support/cli-context.ts'
import { map } from './map.ts'

const folder = mkdtempSync(join(tmpdir(), 'mh-map-'))
afterAll(() => rmSync(folder, { recursive: true }))

it('an option that cannot be read leaves the results of before in their file', async () => {
  const out = join(folder, 'results.jsonl')
  const program = join(folder, 'program.ts')
  writeFileSync(out, '1\n')
  writeFileSync(program, 'export default (n) => n')
  const mesh = {
    status: () => Promise.resolve({ id: 'n', name: 'n' }),
    peers: () => Promise.resolve([]),
  }
  const told = map(cliContext({ mesh }), program, { inputs: join(folder, 'inputs.jsonl'), out, limit: ['wall=soon'] })
  await expect(told).rejects.toMatchObject({ code: 'E_BAD_REQUEST' })
  expect(readFileSync(out, 'utf8')).toBe('1\n')
})
