/** Generated wire code must be what its sources give today: compared byte by byte with a fresh run. */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { generateProto } from '../setup.mjs'
import type { Gate } from './gate.ts'

const FILES = ['wire.js', 'wire.d.ts'] as const

export const generatedGate: Gate = {
  name: 'generated',
  keepsOut: 'wire code that is older than proto/*.proto',
  async run(root) {
    const fresh = await mkdtemp(join(tmpdir(), 'manyhands-proto-'))
    try {
      generateProto(fresh)
      const findings: string[] = []
      for (const name of FILES) {
        const have = await readFile(join(root, 'proto', 'gen', name)).catch(() => undefined)
        if (!have?.equals(await readFile(join(fresh, name))))
          findings.push(`proto/gen/${name} differs from what proto/*.proto gives: npm run gen`)
      }
      return findings
    } finally {
      await rm(fresh, { recursive: true, force: true })
    }
  },
}
