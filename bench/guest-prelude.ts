/**
 * What the guest runtime adds to V8's own cost of an isolate: the prelude in every context, the first touch of each library, and calls through the
 * dispatcher. Beside a bare isolate of isolated-vm in the same run. Not measured: the process around it, its pipe, and limits.
 */
import ivm from 'isolated-vm'
import { bootGuest, compileRoot } from '../daemon/exec/isolate/guest/boot.ts'
import { LIBRARIES, PRELUDE } from '../daemon/exec/isolate/guest/gen/sources.js'
import { GLOBALS } from '../daemon/exec/isolate/guest/globals.ts'
import type { GuestPort } from '../daemon/exec/isolate/guest/host-ops.ts'
import { TestIsolate } from '../daemon/exec/isolate/guest/test-isolate.ts'

const ROUNDS = 60
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

/** Milliseconds to make an isolate ready, with and without the runtime, taken in turns so that noise hits both. */
function preludeCost(): void {
  const bare: number[] = []
  const booted: number[] = []
  // disposed of at the end: that runs on another thread, which would be measured instead on a busy machine
  const made: ivm.Isolate[] = []
  for (let i = 0; i < ROUNDS; i++) {
    for (const [times, boot] of [
      [bare, false],
      [booted, true],
    ] as const) {
      const start = performance.now()
      const isolate = new ivm.Isolate({ memoryLimit: 64 })
      const context = isolate.createContextSync()
      if (boot) {
        bootGuest(context, SILENT, isolate)
        compileRoot(isolate)
      }
      times.push(performance.now() - start)
      made.push(isolate)
    }
  }
  for (const isolate of made) isolate.dispose()
  const note = `prelude ${PRELUDE.length} bytes; the time added is ${round(median(booted) - median(bare))} ms`
  print({
    what: 'isolate ready for a program',
    value: round(median(booted)),
    unit: 'ms',
    against: 'bare isolate and context',
    rival: round(median(bare)),
    note,
  })
}

/** Milliseconds until a library's first global is there; a program pays only for what it touches. */
async function libraryCost(): Promise<void> {
  for (const [library, [name]] of Object.entries(GLOBALS)) {
    const times: number[] = []
    for (let i = 0; i < 9; i++) {
      const isolate = new ivm.Isolate({ memoryLimit: 64 })
      const context = isolate.createContextSync()
      bootGuest(context, SILENT)
      const start = performance.now()
      context.evalSync(`void ${name}`)
      times.push(performance.now() - start)
      isolate.dispose()
    }
    print({
      what: `first touch of ${library}`,
      value: round(median(times)),
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
