import { createHash } from 'node:crypto'
import { gunzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { buildHelper, compilerVersion, sourceHash, TARGETS } from '../../../../../scripts/build-guest-agent.ts'
import { HELPERS, SOURCE_SHA256 } from './prebuilt.ts'

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

describe('the prebuilt helper', () => {
  it('was made from the sources beside it', () => {
    expect(sourceHash(), 'Run scripts/build-guest-agent.ts after a change of the sources').toBe(SOURCE_SHA256)
  })

  for (const target of ['x64', 'arm64'] as const) {
    const { sha256: wanted, gzip, compiler } = HELPERS[target]
    it(`for ${target} is what its hash says: small, static, nothing of it writable and executable`, () => {
      const bytes = gunzipSync(Buffer.from(gzip, 'base64'))
      expect(sha256(bytes)).toBe(wanted)
      expect(bytes.length).toBeLessThan(64 << 10)
      expect(bytes.subarray(0, 4).toString('latin1')).toBe('\x7fELF')
      const headers = Number(bytes.readBigUInt64LE(32))
      const segments = Array.from({ length: bytes.readUInt16LE(56) }, (_, index) => {
        const at = headers + index * bytes.readUInt16LE(54)
        return { type: bytes.readUInt32LE(at), flags: bytes.readUInt32LE(at + 4) }
      })
      // 2: dynamic, 3: interpreter; flags 1: execute, 2: write
      expect(segments.filter(({ type }) => type === 2 || type === 3)).toEqual([])
      expect(segments.filter(({ flags }) => (flags & 3) === 3)).toEqual([])
    })

    const here = compilerVersion(TARGETS[target])
    it.skipIf(here !== compiler)(`for ${target} is made anew byte by byte by the same compiler`, () => {
      expect(sha256(buildHelper(TARGETS[target]))).toBe(wanted)
    })
  }
})
