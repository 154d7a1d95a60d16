/**
 * `npm run <stage>`: sets the clone up, then runs the stage on Node 24, whichever Node was found first.
 * Usage: node scripts/run.mjs <stage> [arguments for it]
 */
import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import { delimiter, join } from 'node:path'
import { nodeBinary, root, setup } from './setup.mjs'

const vitest = ['node_modules/vitest/vitest.mjs', 'run', '--reporter=default', '--reporter=./scripts/closing-line.ts']

/** What each stage runs, and what it needs made first (default: everything). */
const stages = {
  bench: { argv: ['scripts/bench.ts'] },
  build: { argv: [], force: true, products: ['guest', 'sdk', 'bundles'] },
  check: { argv: ['scripts/check.ts'], products: ['proto', 'guest'] },
  demo: { argv: ['examples/demo/main.ts'] },
  docs: { argv: ['scripts/docs.ts'], products: ['proto', 'guest'] },
  gen: { argv: [], force: true, products: ['proto', 'guest'] },
  pack: { argv: ['scripts/check-pack.ts'] },
  setup: { argv: [] },
  test: { argv: vitest },
}

function main([name, ...rest]) {
  const stage = Object.hasOwn(stages, name ?? '') ? stages[name] : undefined
  if (!stage) throw new Error(`Cannot run stage "${name ?? ''}": the stages are ${Object.keys(stages).join(', ')}`)
  setup({ force: stage.force ?? false, ...(stage.products && { only: stage.products }) })
  if (stage.argv.length > 0) start([...stage.argv, ...rest])
}

/** Takes this process's place as far as Node can: same terminal, signals passed on, same exit code. */
function start(argv) {
  const bin = join(root, 'node_modules', '.bin')
  const child = spawn(nodeBinary(), argv, {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH ?? ''}` },
  })
  // On a terminal the whole group gets Ctrl-C; this process only has to outlive the child.
  process.on('SIGINT', () => {})
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  child.on('error', fail)
  child.on('exit', (code, signal) => {
    process.exitCode = code ?? 128 + (constants.signals[signal] ?? 0)
  })
}

function fail(error) {
  process.stderr.write(`${error.message}\n`)
  process.exitCode = 1
}

try {
  main(process.argv.slice(2))
} catch (error) {
  fail(error)
}
