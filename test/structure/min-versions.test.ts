/** What may be installed: versions without known holes, fixed by integrity, from no named host, without running any package's script. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'

const read = (name: string): unknown =>
  JSON.parse(readFileSync(fileURLToPath(new URL(`../../${name}`, import.meta.url)), 'utf8'))

/** npm keeps either form, as the package wrote it */
const Names = z.union([z.array(z.string()), z.string().transform((name) => [name])])
const Lock = z.object({
  packages: z.record(
    z.string(),
    z.object({
      name: z.string().optional(),
      version: z.string().optional(),
      integrity: z.string().optional(),
      resolved: z.string().optional(),
      link: z.boolean().optional(),
      hasInstallScript: z.boolean().optional(),
      optional: z.boolean().optional(),
      os: Names.optional(),
      cpu: Names.optional(),
      libc: Names.optional(),
    }),
  ),
})
type Lock = z.infer<typeof Lock>
const Floors = z.object({
  packages: z.record(z.string(), z.object({ min: z.string().regex(/^\d+\.\d+\.\d+$/), why: z.string().min(1) })),
})
type Floors = z.infer<typeof Floors>['packages']

/** Native parts for another platform than Linux on x64 with glibc: listed, so that `npm ci` works there too, but not every mirror serves their hashes. */
const elsewhere = ({ optional, os, cpu, libc }: Lock['packages'][string]): boolean =>
  optional === true &&
  !((os?.includes('linux') ?? true) && (cpu?.includes('x64') ?? true) && (libc?.includes('glibc') ?? true))

interface Installed {
  readonly path: string
  readonly name: string
  readonly version: string
}

/** Every copy, the nested ones too. */
function installed(lock: Lock): Installed[] {
  return Object.entries(lock.packages).flatMap(([path, { name, version }]) =>
    path.includes('node_modules/') && version !== undefined
      ? [{ path, version, name: name ?? path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length) }]
      : [],
  )
}

/** Semantic Versioning 2.0 precedence, as far as floors need it: a pre-release comes before its release. */
function below(version: string, floor: string): boolean {
  const [core = '', preRelease] = version.split('+')[0]?.split(/-(.*)/s) ?? []
  const numbers = core.split('.').map(Number)
  const wanted = floor.split('.').map(Number)
  const first = wanted.findIndex((part, index) => part !== numbers[index])
  return first === -1 ? preRelease !== undefined : !((numbers[first] ?? 0) > (wanted[first] ?? 0))
}

function belowFloor(lock: Lock, floors: Floors): string[] {
  return installed(lock).flatMap(({ path, name, version }) => {
    const floor = Object.hasOwn(floors, name) ? floors[name] : undefined
    return floor && below(version, floor.min) ? [`${path} ${version} is below ${floor.min}: ${floor.why}`] : []
  })
}

const lock = Lock.parse(read('package-lock.json'))
const floors = Floors.parse(read('min-versions.json')).packages
const manifest = z.object({ allowScripts: z.record(z.string(), z.boolean()) }).parse(read('package.json'))

describe('SDK-08 dependency floor', () => {
  test('SDK-08 no locked package is below its floor', () => {
    expect(installed(lock).length).toBeGreaterThan(100)
    expect(belowFloor(lock, floors)).toEqual([])
  })

  test('SDK-08 a package below its floor is found, also as a nested copy', () => {
    const planted: Lock = {
      packages: {
        'node_modules/protobufjs': { version: '8.5.9' },
        'node_modules/a/node_modules/protobufjs': { version: '8.6.0-rc.1' },
        'node_modules/b/node_modules/protobufjs': { version: '8.6.0' },
        'node_modules/alias': { name: '@libp2p/crypto', version: '5.1.21' },
      },
    }
    expect(belowFloor(planted, floors).map((line) => line.split(' is ')[0])).toEqual([
      'node_modules/protobufjs 8.5.9',
      'node_modules/a/node_modules/protobufjs 8.6.0-rc.1',
      'node_modules/alias 5.1.21',
    ])
  })

  test.each([
    ['1.2.3', '1.2.3', false],
    ['1.2.4', '1.2.3', false],
    ['1.10.0', '1.9.9', false],
    ['2.0.0', '1.9.9', false],
    ['1.9.9', '1.10.0', true],
    ['1.2.3-beta', '1.2.3', true],
    ['1.2.4-beta', '1.2.3', false],
    ['1.2.3+build', '1.2.3', false],
  ])('SDK-08 %s against the floor %s: below is %s', (version, floor, expected) => {
    expect(below(version, floor)).toBe(expected)
  })

  test('SDK-08 every package that Linux on x64 installs is fixed by its hash, and the lock names no host', () => {
    for (const [path, entry] of Object.entries(lock.packages)) {
      if (!path.includes('node_modules/') || entry.link) continue
      if (!elsewhere(entry)) expect(entry.integrity, path).toMatch(/^sha512-/)
      expect(entry.resolved, path).toBeUndefined()
    }
  })

  test('SDK-08 no package may run a script at installation', () => {
    const withScript = Object.entries(lock.packages).flatMap(([path, entry]) =>
      entry.hasInstallScript ? [path.slice(path.lastIndexOf('node_modules/') + 13)] : [],
    )
    for (const name of withScript)
      expect(manifest.allowScripts[name], `allowScripts in package.json must refuse ${name}`).toBe(false)
    expect(Object.values(manifest.allowScripts)).not.toContain(true)
    expect(readFileSync(fileURLToPath(new URL('../../scripts/setup.mjs', import.meta.url)), 'utf8')).toContain(
      `['ci', '--ignore-scripts'`,
    )
  })
})
