/**
 * `npm run bench [-- <word>...]`: runs each bench/*.ts (whose name has one of the words) one after another, each in a process of its
 * own so that none warms or burdens the next, and prints what they measured as one table. Fails when a bench fails; a missed bar is
 * shown and fails only with --strict, because numbers depend on the machine and on what else it does.
 */
import { spawn } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { meetsBars, parseResult, type Result } from './bench/result.ts'
import { table } from './bench/table.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
/** A bench may take this long before it counts as hung, milliseconds. */
const BENCH_TIMEOUT_MS = 10 * 60_000

interface Outcome {
  readonly name: string
  readonly results: readonly Result[]
  readonly failure?: string
}

/** Benches, sorted. Helpers live in folders below bench/. */
function benches(words: readonly string[]): string[] {
  return readdirSync(`${root}bench`)
    .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'))
    .filter((name) => words.length === 0 || words.some((word) => name.includes(word)))
    .sort()
}

async function runBench(name: string): Promise<Outcome> {
  process.stderr.write(`== ${name}\n`)
  const argv = ['--no-node-snapshot', '--expose-gc', `bench/${name}`]
  const child = spawn(process.execPath, argv, {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: BENCH_TIMEOUT_MS,
    killSignal: 'SIGKILL',
  })
  const ended = new Promise<string | undefined>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => resolve(code === 0 ? undefined : `ended with ${code ?? signal ?? 'nothing'}`))
  })
  const results: Result[] = []
  let unreadable: string | undefined
  for await (const line of createInterface({ input: child.stdout })) {
    try {
      const result = parseResult(line)
      if (result) results.push(result)
      process.stderr.write(`${line}\n`)
    } catch (error) {
      unreadable ??= String(error)
    }
  }
  const failure = (await ended) ?? unreadable ?? (results.length === 0 ? 'measured nothing' : undefined)
  return { name, results, ...(failure !== undefined && { failure }) }
}

async function main(args: readonly string[]): Promise<void> {
  const strict = args.includes('--strict')
  const names = benches(args.filter((arg) => !arg.startsWith('--')))
  if (names.length === 0) throw new Error('No bench has such a name: they are the files in bench/')
  const outcomes: Outcome[] = []
  for (const name of names) outcomes.push(await runBench(name))
  const results = outcomes.flatMap((outcome) => outcome.results)
  process.stdout.write(`\n${table(results)}\n`)
  for (const { name, failure } of outcomes)
    if (failure !== undefined) process.stdout.write(`FAILED ${name}: ${failure}\n`)
  const missed = results.filter((result) => !meetsBars(result)).length
  if (outcomes.some(({ failure }) => failure !== undefined) || (strict && missed > 0)) process.exitCode = 1
}

if (import.meta.main) await main(process.argv.slice(2))
