/**
 * `npm run check`: every gate, or those named. Runs all of them even when one fails, so that one run says everything.
 * `npm run check -- lint types`
 */
import { fileURLToPath } from 'node:url'
import { boundariesGate } from './check/boundaries.ts'
import { type Gate, toolGate } from './check/gate.ts'
import { generatedGate } from './check/generated.ts'
import { lengthGate, registryGate, wordsGate } from './check/text.ts'

/** Sorted by name. */
export const GATES: readonly Gate[] = [
  boundariesGate,
  toolGate('format', "other layouts than the formatter's", 'node_modules/@biomejs/biome/bin/biome', [
    'format',
    '--reporter=summary',
  ]),
  generatedGate,
  lengthGate,
  toolGate(
    'lint',
    'floating promises, any, missed cases, clocks and I/O in pure code',
    'node_modules/oxlint/bin/oxlint',
    ['--type-aware', '--deny-warnings', '--format=unix'],
  ),
  registryGate,
  toolGate('types', 'type errors', 'node_modules/typescript/bin/tsc', ['-p', 'tsconfig.json', '--pretty', 'false']),
  toolGate('unused', 'dead files, exports and dependencies', 'node_modules/knip/bin/knip.js', [
    '--no-progress',
    '--no-config-hints',
  ]),
  wordsGate,
]

async function runGate(gate: Gate, root: string): Promise<boolean> {
  const start = performance.now()
  const findings = await gate.run(root).catch((error: unknown) => [`the gate itself failed: ${String(error)}`])
  const took = `${((performance.now() - start) / 1000).toFixed(1)} s`
  process.stdout.write(
    `${findings.length === 0 ? 'ok    ' : 'FAILED'} ${gate.name.padEnd(10)} ${took.padStart(7)}   no ${gate.keepsOut}\n`,
  )
  for (const finding of findings) process.stdout.write(`${finding.replaceAll(/^/gm, '       ')}\n`)
  return findings.length === 0
}

async function main(names: readonly string[]): Promise<void> {
  const unknown = names.filter((name) => !GATES.some((gate) => gate.name === name))
  if (unknown.length > 0)
    throw new Error(`No gate is called ${unknown.join(', ')}: they are ${GATES.map((gate) => gate.name).join(', ')}`)
  const root = fileURLToPath(new URL('..', import.meta.url))
  let failed = 0
  for (const gate of GATES) {
    if (names.length > 0 && !names.includes(gate.name)) continue
    if (!(await runGate(gate, root))) failed += 1
  }
  process.stdout.write(failed === 0 ? 'check: passed\n' : `check: ${failed} failed\n`)
  process.exitCode = failed === 0 ? 0 : 1
}

if (import.meta.main) await main(process.argv.slice(2))
