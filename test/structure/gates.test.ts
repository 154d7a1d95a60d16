/** Each gate of `npm run check` passes on a sound project and finds every fault planted for it: a gate that cannot fail is no gate. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { unseen } from '../../scripts/check/boundaries.ts'
import { GATES } from '../../scripts/check.ts'
import { type Files, plant } from './plant.ts'

interface Fault {
  readonly files: Files
  /** Must all appear in one line of the findings */
  readonly says: readonly string[]
}

const one = (path: string, text: string, ...says: readonly string[]): Fault => ({
  files: { [path]: text },
  says: [path, ...says],
})

const SWITCH = `type Colour = 'red' | 'green'

export function code(colour: Colour): number {
  switch (colour) {
    case 'red':
      return 1
  }
  return 0
}
`

const unfinished = ['TO', 'DO'].join('')
const host = ['registry', 'npmjs', 'org'].join('.')

/** By gate; all faults of a gate are planted together, so each gate runs once. */
const FAULTS: Readonly<Record<string, readonly Fault[]>> = {
  boundaries: [
    {
      files: {
        'protocol/ring-a.ts': `import './ring-b.ts'\nexport const a = 1\n`,
        'protocol/ring-b.ts': `import './ring-a.ts'\nexport const b = 1\n`,
      },
      says: ['no-cycles', 'protocol/ring-b.ts'],
    },
    one('proto/gen/wire.js', `export { next } from '../../protocol/next.ts'\n`, 'proto-is-a-leaf'),
    one('protocol/upward.ts', `export { later } from '../daemon/main.ts'\n`, 'protocol-below-daemon'),
    one('protocol/reads.ts', `export { readFile } from 'node:fs/promises'\n`, 'protocol-does-no-io'),
    one('protocol/lost.ts', `export { nothing } from './nowhere.ts'\n`, 'resolvable'),
    one(
      'sdk/src/inner.ts',
      `import type { next } from '../../protocol/next.ts'\nexport type Next = typeof next\n`,
      'sdk-sees-api-only',
    ),
    one('sdk/src/values.ts', `export * from '../../protocol/api.ts'\n`, 'sdk-takes-types-only'),
    one('daemon/cli/short-cut.ts', `export { next } from '../../protocol/next.ts'\n`, 'cli-goes-through-the-sdk'),
    one('daemon/uses-sdk.ts', `export { idOf } from '../sdk/src/index.ts'\n`, 'only-the-cli-imports-the-sdk'),
    one('daemon/uses-cli.ts', `export { shown } from './cli/main.ts'\n`, 'only-the-cli-imports-the-sdk'),
    {
      files: { 'test/a.ts': 'export const a = 1\n', 'daemon/tested.ts': `export { a } from '../test/a.ts'\n` },
      says: ['daemon/tested.ts', 'product-needs-no-tests'],
    },
    one('daemon/shell.ts', `import 'commander'\n`, 'one-home-for-commander'),
    one('daemon/bundles.ts', `import 'esbuild'\n`, 'one-home-for-esbuild'),
    one('daemon/serves.ts', `import 'hono'\n`, 'one-home-for-hono'),
    one('daemon/exec/runs.ts', `import 'isolated-vm'\n`, 'one-home-for-isolated-vm'),
    one('daemon/stores.ts', `import 'level'\n`, 'one-home-for-level'),
    one('daemon/tasks/dials.ts', `import '@libp2p/tcp'\n`, 'one-home-for-libp2p'),
    one('daemon/strips.ts', `import 'oxc-transform'\n`, 'one-home-for-oxc-transform'),
    one('daemon/logs.ts', `import 'pino'\n`, 'one-home-for-pino'),
    one('daemon/measures.ts', `import 'prom-client'\n`, 'one-home-for-prom-client'),
    one('daemon/net/checks.ts', `import 'zod'\n`, 'one-home-for-zod'),
  ],
  format: [one('daemon/ugly.ts', 'export const  ugly = "yes";\n')],
  length: [one('daemon/long.ts', '// a line\n'.repeat(501), '501 lines')],
  lint: [
    one('protocol/date.ts', 'export const stamp = (): number => Date.now()\n', 'no-restricted-globals'),
    one(
      'protocol/timer.ts',
      'export const later = (): unknown => setTimeout(() => undefined, 1)\n',
      'no-restricted-globals',
    ),
    one('protocol/process.ts', 'export const id = (): number => process.pid\n', 'no-restricted-globals'),
    one('protocol/chance.ts', 'export const dice = (): number => Math.random()\n', 'no-restricted-properties'),
    one('daemon/env.ts', `export const home = process.env['HOME']\n`, 'no-process-env'),
    one('daemon/float.ts', `export function start(): void {\n  Promise.resolve(1)\n}\n`, 'no-floating-promises'),
    one(
      'daemon/misuse.ts',
      `export function each(list: number[]): void {\n  list.forEach(async (n) => {\n    await Promise.resolve(n)\n  })\n}\n`,
      'no-misused-promises',
    ),
    one('daemon/loose.ts', 'export const loose = (value: any): unknown => value\n', 'no-explicit-any'),
    one('daemon/cases.ts', SWITCH, 'switch-exhaustiveness-check'),
    one('daemon/throws.ts', `export function fail(): never {\n  throw 'text'\n}\n`, 'only-throw-error'),
    one('daemon/quiet.ts', `// @ts-ignore\nexport const quiet: number = 'no'\n`, 'ban-ts-comment'),
    one('daemon/cast.ts', `export const cast: { a: number } = JSON.parse('{}')\n`, 'no-unsafe-assignment'),
    {
      files: {
        'daemon/turn-a.ts': `import { b } from './turn-b.ts'\nexport const a = (): number => b()\n`,
        'daemon/turn-b.ts': `import { a } from './turn-a.ts'\nexport const b = (): number => a()\n`,
      },
      says: ['daemon/turn-b.ts', 'no-cycle'],
    },
  ],
  registry: [
    one('package-lock.json', `{\n  "${'resolved'}": "https://${host}/a/-/a-1.0.0.tgz"\n}\n`, 'mirror'),
    one('docs/setup.md', `Use ${host}.\n`, 'registry'),
  ],
  types: [one('daemon/wrong.ts', `export const wrong: number = 'text'\n`, 'TS2322')],
  unused: [
    one('daemon/dead.ts', 'export const dead = 1\n'),
    {
      files: {
        'daemon/main.ts': `import { kept } from './half.ts'\n\nexport const later = (): number => kept\n`,
        'daemon/half.ts': 'export const kept = 1\nexport const spare = 2\n',
      },
      says: ['spare', 'daemon/half.ts'],
    },
  ],
  words: [
    one('daemon/later.ts', `// ${unfinished}: finish\n`, unfinished),
    one('docs/why.md', `Asked for in ${['issue', '7'].join(' ')}.\n`, 'request'),
  ],
}

const all = (faults: readonly Fault[]): Files => Object.assign({}, ...faults.map((fault) => fault.files)) as Files

const hasLine = (words: readonly string[]) => (lines: readonly string[]) =>
  lines.some((line) => words.every((word) => line.includes(word)))

/** Against hangs; a loaded machine may need long, milliseconds. */
const TIMEOUT_MS = 180_000

describe('gates', { timeout: TIMEOUT_MS }, () => {
  for (const gate of GATES.filter(({ name }) => name !== 'generated')) {
    test.concurrent(`${gate.name} passes on a sound project`, async () => {
      await using sound = await plant({})
      expect(await gate.run(sound.root)).toEqual([])
    })

    test.concurrent(`${gate.name} finds each planted fault`, async () => {
      const faults = FAULTS[gate.name] ?? []
      expect(faults).not.toEqual([])
      await using planted = await plant(all(faults))
      const lines = (await gate.run(planted.root)).join('\n').split('\n')
      for (const { says } of faults) expect(lines).toSatisfy(hasLine(says), `a line with ${says.join(' and ')}`)
    })
  }

  test('generated finds wire code that differs from its source', async () => {
    await using planted = await plant({})
    await mkdir(join(planted.root, 'proto/gen'), { recursive: true })
    await writeFile(join(planted.root, 'proto/gen/wire.js'), 'export {}\n')
    const findings = await GATES.find(({ name }) => name === 'generated')?.run(planted.root)
    expect(findings?.join('\n')).toMatch(/wire\.js differs[^]*wire\.d\.ts differs/)
  })

  test('boundaries counts what was looked at: a source that was not is a finding', () => {
    expect(unseen([], ['daemon/main.ts'])).toEqual(['daemon/main.ts'])
    expect(unseen(['daemon/main.ts'], ['daemon/main.ts'])).toEqual([])
  })

  test('are sorted and have distinct names', () => {
    const names = GATES.map(({ name }) => name)
    expect(names).toEqual([...new Set(names)].sort())
  })
})
