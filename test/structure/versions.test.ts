/** One version for the daemon, its package and the SDK: they are released together. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { VERSION } from '../../protocol/version.ts'

const Manifest = z.object({
  version: z.string(),
  devDependencies: z.record(z.string(), z.string()).default({}),
})
const manifest = (path: string) =>
  Manifest.parse(JSON.parse(readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')))

test.each(['package.json', 'sdk/package.json'])('%s has the version that the program says', (path) => {
  expect(manifest(path).version).toBe(VERSION)
})

test('the daemon is built with the SDK of its own version', () => {
  expect(manifest('package.json').devDependencies['@manyhands/sdk']).toBe(VERSION)
})
