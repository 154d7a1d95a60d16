/** What the benches of the isolate executor run: programs nobody has seen, one input, and how they are timed. */
import type { JobSpec } from '../../daemon/exec/executor.ts'

const MIB = 1 << 20
const INPUT = { title: 'Hello Mesh World', items: Array.from({ length: 10 }, (_, i) => ({ kind: `k${i % 3}`, n: i })) }

/** JSON text of about 250 bytes. */
export const INPUT_JSON = JSON.stringify(INPUT)

let made = 0

/** About 1 KB of JavaScript, different each time: a class, some string and map work, one await. */
export function unseenModule(): string {
  made += 1
  const id = `${process.pid}_${made}_${Math.random().toString(36).slice(2)}`
  const body = `
const id = ${JSON.stringify(id)};
function tally(rows) { const sums = new Map(); for (const row of rows) sums.set(row.kind, (sums.get(row.kind) ?? 0) + row.n * ${made % 97}); return [...sums].sort((a, b) => b[1] - a[1]); }
function slug(text) { return text.toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, ''); }
class Total { constructor() { this.values = []; } add(value) { this.values.push(value); return this; } get sum() { return this.values.reduce((a, b) => a + b, 0); } }
export default async function (input) {
  const total = new Total(); for (const item of input.items) total.add(item.n);
  const top = tally(input.items); await null;
  return { id, title: slug(input.title), sum: total.sum, top: top[0], even: total.values.filter((x) => x % 2 === 0).length };
}
`
  return `// ${'x'.repeat(Math.max(0, 1000 - body.length))}\n${body}`
}

export function unseenJob(domain = 'bench'): JobSpec {
  return {
    program: { main: 'main.js', modules: [{ name: 'main.js', type: 'js', source: unseenModule() }] },
    limits: {
      wallMs: 30_000,
      cpuMs: 3_600_000,
      memoryBytes: 128 * MIB,
      outputBytes: MIB,
      logBytes: MIB,
      hostCalls: 1000,
      hostCallBytes: MIB,
    },
    domain,
    hostFunctions: [],
  }
}

export function quantile(samples: readonly number[], q: number): number {
  const sorted = [...samples].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN
}

/** Milliseconds of each of `count` calls, one after the other, `pauseMs` apart. */
export async function latencies(count: number, pauseMs: number, call: () => Promise<unknown>): Promise<number[]> {
  const samples: number[] = []
  for (let i = 0; i < count; i++) {
    if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs))
    const began = performance.now()
    await call()
    samples.push(performance.now() - began)
  }
  return samples
}

/** Calls per second with `inFlight` always open. */
export async function callsPerSecond(total: number, inFlight: number, call: () => Promise<unknown>): Promise<number> {
  let begun = 0
  const began = performance.now()
  const lane = async (): Promise<void> => {
    while (begun < total) {
      begun += 1
      await call()
    }
  }
  await Promise.all(Array.from({ length: inFlight }, lane))
  return (1000 * total) / (performance.now() - began)
}
