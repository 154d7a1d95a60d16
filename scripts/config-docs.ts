/** Writes docs/CONFIG.md from the configuration schema. */
import { writeFileSync } from 'node:fs'
import { configDocument } from '../daemon/config/document.ts'

writeFileSync(new URL('../docs/CONFIG.md', import.meta.url), configDocument())
