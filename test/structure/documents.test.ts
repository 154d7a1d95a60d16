/** Documents name commands and files that exist. */
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { writtenFiles } from '../../scripts/check/files.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const documents = writtenFiles(ROOT).filter((path) => path.endsWith('.md'))
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8')
const manifest: unknown = JSON.parse(read('package.json'))
const { scripts } = z.object({ scripts: z.record(z.string(), z.string()) }).parse(manifest)

/** Names in `npm run <name>`. */
const commandsIn = (text: string): string[] =>
  [...text.matchAll(/\bnpm run ([\w:-]+)/g)].flatMap(([, name]) => name ?? [])

/** Targets of links to files of the project, without their anchors. */
const linksIn = (text: string): string[] =>
  [...text.matchAll(/\]\(([^)\s]+)\)/g)]
    .flatMap(([, target]) => target ?? [])
    .filter((target) => !/^(?:[a-z]+:|#)/.test(target))
    .map((target) => target.split('#')[0] ?? '')

test('a missing command and a missing file are seen', () => {
  expect(commandsIn('Use `npm run demo` and npm run pack:check.')).toEqual(['demo', 'pack:check'])
  expect(linksIn('[a](docs/a.md#x) [b](https://example.org) [c](#here)')).toEqual(['docs/a.md'])
})

describe.each(documents)('%s', (path) => {
  test('its npm commands exist', () => {
    for (const name of commandsIn(read(path))) expect(Object.keys(scripts), `npm run ${name}`).toContain(name)
  })

  test('its links lead to files', () => {
    for (const target of linksIn(read(path))) expect(existsSync(join(ROOT, dirname(path), target)), target).toBe(true)
  })
})
