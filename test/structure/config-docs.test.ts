import { globSync, readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { configDocument } from '../../daemon/config/document.ts'
import { CONFIG_KEYS } from '../../daemon/config/keys.ts'

it('docs/CONFIG.md is what npm run docs writes', () => {
  expect(readFileSync(new URL('../../docs/CONFIG.md', import.meta.url), 'utf8')).toBe(configDocument())
})

it('every key is documented, and every variable is used once', () => {
  for (const { key, leaf } of CONFIG_KEYS) expect(leaf.doc, key).not.toBe('')
  expect(new Set(CONFIG_KEYS.map(({ variable }) => variable)).size).toBe(CONFIG_KEYS.length)
})

it('every key has an effect: something outside the configuration reads it', () => {
  const root = new URL('../../', import.meta.url)
  const sources = globSync(['daemon/**/*.ts', 'protocol/**/*.ts'], { cwd: root })
    .filter((path) => !path.startsWith('daemon/config/') && !/\.test\.ts$|\/testing\//.test(path))
    .map((path) => readFileSync(new URL(path, root), 'utf8'))
  const reads = (key: string): boolean => {
    const name = key.slice(key.lastIndexOf('.') + 1)
    return sources.some((text) => new RegExp(`\\.${name}\\b`).test(text))
  }
  expect(CONFIG_KEYS.filter(({ key }) => !reads(key)).map(({ key }) => key)).toEqual([])
  expect(reads('api.portOfNothing')).toBe(false)
})
