/**
 * What the guest runtime adds to V8's own cost of an isolate: the prelude in every context, the first touch of each library, and calls through the
 * dispatcher. Beside a bare isolate of isolated-vm in the same run. Not measured: the process around it, its pipe, and limits.
 */
import ivm from 'isolated-vm'
import { bootGuest } from '../daemon/exec/isolate/guest/boot.ts'
import { LIBRARIES, PRELUDE } from '../daemon/exec/isolate/guest/gen/sources.js'
import { GLOBALS } from '../daemon/exec/isolate/guest/globals.ts'
import type { GuestPort } from '../daemon/exec/isolate/guest/host-ops.ts'
import { TestIsolate } from '../daemon/exec/isolate/guest/test-isolate.ts'
import { startModules } from '../daemon/exec/isolate/start-module.ts'

const ROUNDS = 5
/** Isolates made in one go */
const BLOCK = 60
const BATCH = 256
const BATCHES = 120
const SILENT: GuestPort = { log() {}, call() {}, results() {}, wake() {}, abuse() {} }

interface Row {
  readonly what: string
  readonly value: number
  readonly unit: string
  readonly bar?: string
  readonly against?: string
  readonly rival?: number
  readonly note?: string
}

function print(row: Row): void {
  const ratio = row.rival === undefined ? {} : { ratio: Math.round((row.value / row.rival) * 100) / 100 }
  console.log(JSON.stringify({ ...row, ...ratio }))
}

const median = (values: number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0
const round = (value: number): number => Math.round(value * 1000) / 1000

/** CPU milliseconds of this thread, which other work of the machine does not stretch as it does the clock. Counted in ticks of some ms. */
function cpuMs(): number {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1000
}

/** CPU milliseconds for each isolate of a block. They are disposed of after it, as that runs on another thread and would disturb. */
function blockCost(boot: boolean): number {
  const made: ivm.Isolate[] = []
  const start = cpuMs()
  for (let i = 0; i < BLOCK; i++) {
    const isolate = new ivm.Isolate({ memoryLimit: 64 })
    const context = isolate.createContextSync()
    if (boot) {
      startModules(isolate, context, bootGuest(context, SILENT, isolate))
    }
    made.push(isolate)
  }
  const cost = (cpuMs() - start) / BLOCK
  for (const isolate of made) isolate.dispose()
  return cost
}

/** What the runtime adds to making an isolate, taken in turns. */
function preludeCost(): void {
  blockCost(true)
  const bare: number[] = []
  const booted: number[] = []
  for (let i = 0; i < ROUNDS; i++) {
    bare.push(blockCost(false))
    booted.push(blockCost(true))
  }
  print({
    what: 'isolate ready for a program, CPU',
    value: round(median(booted)),
    unit: 'ms',
    against: 'bare isolate and context',
    rival: round(median(bare)),
    note: `prelude ${PRELUDE.length} bytes; added ${round(median(booted) - median(bare))} ms`,
  })
}

/** Shortest time until a library's first global is there; a program pays only for what it touches. */
async function libraryCost(): Promise<void> {
  for (const [library, [name]] of Object.entries(GLOBALS)) {
    const times: number[] = []
    for (let i = 0; i < 9; i++) {
      const isolate = new ivm.Isolate({ memoryLimit: 64 })
      const context = isolate.createContextSync()
      bootGuest(context, SILENT, isolate)
      const start = performance.now()
      context.evalSync(`void ${name}`)
      times.push(performance.now() - start)
      isolate.dispose()
    }
    print({
      what: `first touch of ${library}`,
      value: round(Math.min(...times)),
      unit: 'ms',
      note: `${LIBRARIES[library]?.length} bytes`,
    })
  }
}

/** Calls per second of a loaded program, entered in batches as a session does. */
async function callRate(): Promise<void> {
  const isolate = new TestIsolate('export default async (input) => ({ sum: input.items.reduce((a, b) => a + b, 0) })')
  if ((await isolate.load()) !== undefined) throw new Error('the program did not load')
  const inputs = Array.from({ length: BATCH }, (_, n) => ({ items: [n, 1, 2, 3] }))
  for (let i = 0; i < 20; i++) await isolate.callAll(inputs)
  const rates: number[] = []
  for (let i = 0; i < BATCHES; i++) {
    const start = performance.now()
    await isolate.callAll(inputs)
    rates.push((BATCH / (performance.now() - start)) * 1000)
  }
  const perMessage = isolate.batches.reduce((sum, size) => sum + size, 0) / isolate.batches.length
  isolate.dispose()
  const note = `batches of ${BATCH}, JSON both ways, ${Math.round(perMessage)} results a message`
  print({ what: 'calls through the dispatcher', value: Math.round(median(rates)), unit: '/s', bar: '>= 100000', note })
}

preludeCost()
await libraryCost()
await callRate()
