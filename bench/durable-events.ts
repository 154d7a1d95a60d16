/**
 * Durable events: 256 bytes each, acknowledged when synced, 64 in flight. Beside the journal, interleaved in the same run on the same disk:
 * LevelDB with the same grouping by hand and none of the journal's guarantees, LevelDB with one synced put each, node:sqlite (WAL,
 * synchronous=full) with one transaction for one event and with one for 64. Then how fast a journal opens, and whether a process killed
 * at full speed loses anything it was told.
 *
 * Not measured: power loss (the disk of a virtual machine may keep its own cache), and disks other than that of the temporary folder.
 * Noise: the numbers are those of the disk's sync; look at the ratios when others use it.
 *
 * `--json` prints one JSON object a line in a terminal too; without a terminal that is what it prints anyway.
 */
import { spawn } from 'node:child_process'
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { Level } from 'level'
import type { Journal } from '../daemon/journal/journal.ts'
import { openLevelJournal } from '../daemon/journal/level-journal.ts'
import type { Result } from '../scripts/bench/result.ts'
import { table } from '../scripts/bench/table.ts'
import { median, rate } from './support/mesh-pair.ts'

const BODY = new Uint8Array(256).fill(5)
const IN_FLIGHT = 64
const ROUNDS = 5
const root = mkdtempSync(join(tmpdir(), 'manyhands-bench-'))

const place = (name: string) => ({
  folder: join(root, name),
  markFile: join(root, `${name}.mark`),
  types: ['bench.event'],
})
const openJournal = (name: string): Promise<Journal> => openLevelJournal(place(name))

interface Way {
  readonly name: string
  readonly total: number
  readonly call: () => Promise<unknown>
  readonly close: () => Promise<void> | void
}

let counter = 0
const nextKey = (): string => `k${String(counter++).padStart(12, '0')}`

async function journalWay(name: string, withRow: boolean): Promise<Way> {
  const journal = await openJournal(name)
  const writes = () => [{ table: 'event', key: nextKey(), value: BODY }]
  const record = () => ({ type: 'bench.event', body: BODY, ...(withRow ? { writes: writes() } : {}) })
  return { name, total: 30_000, call: () => journal.append(record()), close: () => journal.close() }
}

async function openLevel(name: string): Promise<Level<string, Uint8Array>> {
  const db = new Level<string, Uint8Array>(join(root, name), { valueEncoding: 'view' })
  await db.open()
  return db
}

/** What the journal's speed comes from, and nothing else: puts of a turn in one synced batch. */
async function groupedLevelWay(): Promise<Way> {
  const db = await openLevel('grouped')
  let waiting: { key: string; resolve: () => void; reject: (error: unknown) => void }[] = []
  let busy = false
  async function flush(): Promise<void> {
    while (waiting.length > 0) {
      const batch = waiting
      waiting = []
      try {
        await db.batch(
          batch.map(({ key }) => ({ type: 'put', key, value: BODY })),
          { sync: true },
        )
        for (const each of batch) each.resolve()
      } catch (error) {
        for (const each of batch) each.reject(error)
      }
      await new Promise(setImmediate)
    }
    busy = false
  }
  const call = () =>
    new Promise<void>((resolve, reject) => {
      waiting.push({ key: nextKey(), resolve, reject })
      if (!busy) setImmediate(() => void flush())
      busy = true
    })
  return { name: 'level, grouped by hand', total: 30_000, call, close: () => db.close() }
}

async function syncedPutWay(): Promise<Way> {
  const db = await openLevel('puts')
  const call = () => db.put(nextKey(), BODY, { sync: true })
  return { name: 'level, put { sync }', total: 3_000, call, close: () => db.close() }
}

function sqliteWay(perTransaction: number): Way {
  const db = new DatabaseSync(join(root, `sqlite${perTransaction}`))
  db.exec(
    'pragma journal_mode = wal; pragma synchronous = full; create table event (key text primary key, body blob) without rowid',
  )
  const insert = db.prepare('insert into event values (?, ?)')
  async function call(): Promise<void> {
    if (perTransaction > 1) db.exec('begin')
    for (let i = 0; i < perTransaction; i++) insert.run(nextKey(), BODY)
    if (perTransaction > 1) db.exec('commit')
  }
  const name = `node:sqlite, ${perTransaction} a transaction`
  return { name, total: perTransaction > 1 ? 400 : 2_000, call, close: () => db.close() }
}

/** Median events per second of each way, rounds interleaved so that all meet the same noise. */
async function throughput(): Promise<Map<string, number>> {
  const ways = [
    await journalWay('journal', false),
    await groupedLevelWay(),
    await journalWay('journal with a row each', true),
    await syncedPutWay(),
    sqliteWay(1),
    sqliteWay(IN_FLIGHT),
  ]
  const rounds = new Map(ways.map(({ name }) => [name, [] as number[]]))
  for (let round = 0; round <= ROUNDS; round++) {
    for (const { name, total, call } of ways) {
      const each = name.includes(`${IN_FLIGHT} a`) ? IN_FLIGHT : 1
      const measured = (await rate(total, each > 1 ? 1 : IN_FLIGHT, call)) * each
      // the first round warms up
      if (round > 0) rounds.get(name)?.push(measured)
    }
  }
  for (const { close } of ways) await close()
  return new Map([...rounds].map(([name, values]) => [name, median(values)]))
}

/** Medians in milliseconds: one append at a time, and an append to a plain file with fdatasync, taken in turn. */
async function latency(): Promise<{ journal: number; floor: number }> {
  const journal = await openJournal('latency')
  const file = openSync(join(root, 'floor'), 'w')
  const times: { journal: number[]; floor: number[] } = { journal: [], floor: [] }
  for (let i = 0; i < 400; i++) {
    const start = performance.now()
    await journal.append({ type: 'bench.event', body: BODY })
    const between = performance.now()
    writeSync(file, BODY)
    fdatasyncSync(file)
    times.journal.push(between - start)
    times.floor.push(performance.now() - between)
  }
  closeSync(file)
  await journal.close()
  return { journal: median(times.journal), floor: median(times.floor) }
}

/** Milliseconds to create an empty journal and to open it again, and records per second verified when opening a long one. */
async function opening(): Promise<{ create: number; empty: number; verified: number }> {
  const create: number[] = []
  const empty: number[] = []
  for (let i = 0; i < 9; i++) {
    for (const times of [create, empty]) {
      const start = performance.now()
      const journal = await openJournal(`empty${i}`)
      times.push(performance.now() - start)
      await journal.close()
    }
  }
  const start = performance.now()
  const journal = await openJournal('journal')
  const verified = journal.head / ((performance.now() - start) / 1000)
  await journal.close()
  return { create: median(create), empty: median(empty), verified }
}

/** Kills a writer at full speed and opens what it left. @returns how many it was told, and how many of those are missing */
async function killed(rounds: number): Promise<{ told: number; lost: number }> {
  let told = 0
  let lost = 0
  for (let round = 0; round < rounds; round++) {
    const { folder, markFile } = place(`killed${round}`)
    const program = new URL('./support/durable-writer.ts', import.meta.url).pathname
    const child = spawn(process.execPath, [program, folder, markFile], { stdio: ['ignore', 'pipe', 'inherit'] })
    const ended = new Promise((resolve) => child.once('close', resolve))
    let output = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output = (output + text).slice(-100)
    })
    await new Promise((resolve) => child.stdout.once('data', resolve))
    await new Promise((resolve) => setTimeout(resolve, 300 + 100 * round))
    child.kill('SIGKILL')
    await ended
    const last = Number(output.trimEnd().split('\n').at(-1))
    if (!(last > 0)) throw new Error('the writer told nothing')
    const journal = await openJournal(`killed${round}`)
    told += last
    // records have no gaps, which opening has verified, so what is missing can only be the end
    lost += Math.max(0, last - journal.head)
    await journal.close()
  }
  return { told, lost }
}

async function measure(): Promise<Result[]> {
  const rates = await throughput()
  const ours = rates.get('journal') ?? 0
  const what = 'durable events of 256 B, 64 in flight'
  const results: Result[] = []
  for (const [name, value] of rates) {
    if (name === 'journal') continue
    if (name === 'journal with a row each') {
      results.push({
        what: `${what}, each with a table row`,
        value,
        unit: '/s',
        against: 'journal without rows',
        rival: ours,
        ratio: value / ours,
      })
    } else {
      results.push({
        what,
        value: ours,
        unit: '/s',
        bar: '>= 100000',
        against: name,
        rival: value,
        ratio: ours / value,
      })
    }
  }
  const { journal, floor } = await latency()
  results.push({
    what: 'one durable event at a time',
    value: journal,
    unit: 'ms',
    against: 'write + fdatasync',
    rival: floor,
    ratio: floor / journal,
  })
  const { create, empty, verified } = await opening()
  results.push({ what: 'create an empty journal', value: create, unit: 'ms', note: 'median of 9' })
  results.push({ what: 'open an empty journal', value: empty, unit: 'ms', bar: '<= 15', note: 'median of 9' })
  results.push({ what: 'records verified when opening', value: verified, unit: '/s', bar: '>= 200000' })
  const { told, lost } = await killed(3)
  results.push({
    what: 'acknowledged events lost after kill -9',
    value: lost,
    unit: 'events',
    bar: '<= 0',
    note: `of ${told} in 3 kills`,
  })
  return results
}

try {
  const results = await measure()
  if (process.stdout.isTTY && !process.argv.includes('--json')) process.stdout.write(`${table(results)}\n`)
  else for (const result of results) process.stdout.write(`${JSON.stringify(result)}\n`)
} finally {
  rmSync(root, { recursive: true, force: true })
}
