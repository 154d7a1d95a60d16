import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { buildGuest } from '../../../../scripts/build-guest.ts'
import { LIBRARIES, PRELUDE } from './gen/sources.js'
import { GLOBALS } from './globals.ts'

test('the generated sources are those of the files here', async () => {
  const generated = readFileSync(join(import.meta.dirname, 'gen/sources.js'), 'utf8')
  expect(generated === (await buildGuest()), 'run: node scripts/build-guest.ts').toBe(true)
})

test('every library is there, and the prelude stays small', () => {
  expect(Object.keys(LIBRARIES).sort()).toEqual(Object.keys(GLOBALS).sort())
  expect(PRELUDE.length).toBeLessThan(7_000)
})

test('no path of the machine that built them is in the sources', () => {
  for (const source of [PRELUDE, ...Object.values(LIBRARIES)])
    expect(source).not.toMatch(/node_modules|\/home\/|\/work\/|file:/)
})
