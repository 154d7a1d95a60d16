import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { configDocument } from '../../daemon/config/document.ts'
import { CONFIG_KEYS } from '../../daemon/config/keys.ts'

it('docs/CONFIG.md is what scripts/config-docs.ts writes', () => {
  expect(readFileSync(new URL('../../docs/CONFIG.md', import.meta.url), 'utf8')).toBe(configDocument())
})

it('every key is documented, and every variable is used once', () => {
  for (const { key, doc } of CONFIG_KEYS) expect(doc, key).not.toBe('')
  expect(new Set(CONFIG_KEYS.map(({ variable }) => variable)).size).toBe(CONFIG_KEYS.length)
})
