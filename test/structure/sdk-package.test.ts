/** SDK-08 what the SDK may bring along: nothing. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'

const sdk = join(import.meta.dirname, '..', '..', 'sdk')
const files = readdirSync(join(sdk, 'src'), { recursive: true, encoding: 'utf8' }).filter(
  (name) => name.endsWith('.ts') && !name.endsWith('.test.ts'),
)

/** What a source imports at run time. */
function runtimeImports(text: string): string[] {
  const fixed = [...text.matchAll(/^(?:import|export) (?!type\b)[^'"]*?from '([^']+)'/gm)]
  const dynamic = [...text.matchAll(/(?<!typeof )\bimport\('([^']+)'\)/g)]
  return [...fixed, ...dynamic].map((match) => match[1] ?? '')
}

describe('SDK-08 the package', () => {
  it('has no dependency but an optional peer', () => {
    const manifest = JSON.parse(readFileSync(join(sdk, 'package.json'), 'utf8')) as Record<string, unknown>
    expect(manifest['dependencies']).toBe(undefined)
    expect(manifest['optionalDependencies']).toBe(undefined)
    expect(manifest['scripts']).toBe(undefined)
    expect(Object.keys(manifest['peerDependencies'] ?? {})).toEqual(['esbuild'])
    expect(manifest['peerDependenciesMeta']).toEqual({ esbuild: { optional: true } })
  })

  it('imports itself and Node at run time, and Node only where browsers do not look', () => {
    expect(files.length).toBeGreaterThan(25)
    for (const file of files) {
      for (const specifier of runtimeImports(readFileSync(join(sdk, 'src', file), 'utf8'))) {
        if (specifier === 'esbuild') expect(file).toBe('node/bundle.ts')
        else if (specifier.startsWith('node:')) expect(file).toMatch(/^node\//)
        else expect(specifier, file).toMatch(/^\.\.?\/(?!.*protocol\/)/)
        if (file !== 'index.ts' && !file.startsWith('node/')) expect(specifier, file).not.toContain('/node/')
      }
    }
  })

  it('is seen through by this test', () => {
    expect(runtimeImports("import { a } from 'left-pad'\nimport type { b } from 'x'\nawait import('y')")).toEqual([
      'left-pad',
      'y',
    ])
  })
})
