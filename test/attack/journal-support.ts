import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished } from 'vitest'
import type { Journal, JournalRecord, NewRecord } from '../../daemon/journal/journal.ts'
import { type LevelJournalOptions, openLevelJournal } from '../../daemon/journal/level-journal.ts'

export const WRITER_TYPES = ['test.happened']

export function place(root: string): { folder: string; markFile: string } {
  return { folder: join(root, 'store'), markFile: join(root, 'mark') }
}

/** The record of an index: its body and its row both tell the index. */
export function indexRecord(index: number): NewRecord {
  const body = Buffer.from(`${index}`.padEnd(100, '.'))
  return { type: 'test.happened', body, writes: [{ table: 'seen', key: `${index}`, value: body }] }
}

export function indexOf(record: Pick<JournalRecord, 'body'>): number {
  return Number(Buffer.from(record.body).toString().replace(/\.+$/, ''))
}

export async function temporaryRoot(): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'manyhands-journal-'))
  onTestFinished(() => rm(root, { recursive: true, force: true }))
  return root
}

export function openAt(root: string, options: Partial<LevelJournalOptions> = {}): Promise<Journal> {
  return openLevelJournal({ ...place(root), types: WRITER_TYPES, ...options })
}

/** Appends the records of `count` indexes in batches of `batch`. */
export async function fill(journal: Journal, count: number, batch = 10): Promise<void> {
  const start = journal.head
  for (let at = start; at < start + count; at += batch) {
    await Promise.all(
      Array.from({ length: Math.min(batch, start + count - at) }, (_, i) => journal.append(indexRecord(at + i))),
    )
  }
}

/** Makes a closed journal with `count` records in `root`: the older ones in tables, the newest `logged` in the log. */
export async function closedJournal(root: string, count: number, logged: number): Promise<void> {
  for (const part of [count - logged, logged]) {
    const journal = await openAt(root)
    await fill(journal, part)
    await journal.close()
  }
}

export async function copyOf(root: string): Promise<string> {
  const copy = await temporaryRoot()
  await cp(root, copy, { recursive: true })
  return copy
}

/** Paths of the files of a store whose names match, oldest first. */
export async function storeFiles(root: string, name: RegExp): Promise<string[]> {
  const names = (await readdir(place(root).folder)).filter((each) => name.test(each)).sort()
  return names.map((each) => join(place(root).folder, each))
}

export async function largest(paths: readonly string[]): Promise<string> {
  const sized = await Promise.all(paths.map(async (path) => ({ path, size: (await stat(path)).size })))
  return sized.reduce((best, each) => (each.size > best.size ? each : best)).path
}

export async function flip(path: string, at: number, bytes = 1, mask = 0xff): Promise<void> {
  const content = await readFile(path)
  for (let i = at; i < Math.min(at + bytes, content.length); i++) content[i] = (content[i] ?? 0) ^ mask
  await writeFile(path, content)
}

export interface Contents {
  readonly records: readonly JournalRecord[]
  readonly indexes: readonly number[]
}

/** Reads everything, checking what must hold in any journal of a writer: no hole, no index twice, one row for each record and no other. */
export async function contents(journal: Journal): Promise<Contents> {
  const records: JournalRecord[] = []
  for (
    let page = await journal.read(0);
    page.length > 0;
    page = await journal.read((records.at(-1)?.sequence ?? 0) + 1)
  ) {
    records.push(...page)
  }
  const first = records[0]?.sequence ?? journal.head + 1
  expect(records.map((record) => record.sequence)).toEqual(records.map((_, i) => first + i))
  expect(first + records.length - 1).toBe(journal.head)
  const indexes = records.map(indexOf)
  expect(new Set(indexes).size).toBe(indexes.length)
  const rows = new Set<string>()
  for (let after: string | undefined; ; ) {
    const page = await journal.range('seen', after === undefined ? {} : { after })
    for (const { key, value } of page) {
      rows.add(key)
      expect(indexOf({ body: value })).toBe(Number(key))
    }
    after = page.at(-1)?.key
    if (after === undefined) break
  }
  expect(indexes.every((index) => rows.has(`${index}`))).toBe(true)
  // rows outlive the records that trim() drops
  expect(rows.size).toBe(journal.head)
  return { records, indexes }
}

export interface Answers {
  /** index -> sequence */
  readonly acknowledged: ReadonlyMap<number, number>
  readonly refused: ReadonlyMap<number, string>
  readonly closed: boolean
}

export async function answersOf(root: string): Promise<Answers> {
  const text = await readFile(join(root, 'answers'), 'utf8').catch(() => '')
  const acknowledged = new Map<number, number>()
  const refused = new Map<number, string>()
  const lines = text.split('\n')
  for (const line of lines) {
    const [kind, index, result = ''] = line.split(' ')
    if (kind === 'ack') acknowledged.set(Number(index), Number(result))
    if (kind === 'refused') refused.set(Number(index), result)
  }
  return { acknowledged, refused, closed: lines.includes('closed') }
}

/** Opens what a writer left and checks that everything it was told is true. @returns the head */
export async function expectNothingLost(root: string): Promise<number> {
  const answers = await answersOf(root)
  const journal = await openAt(root)
  try {
    const { records, indexes } = await contents(journal)
    const first = records[0]?.sequence ?? 1
    for (const [index, sequence] of answers.acknowledged) {
      if (sequence >= first) expect(indexes[sequence - first]).toBe(index)
      expect(journal.get('seen', `${index}`)).toBeDefined()
      expect(sequence).toBeLessThanOrEqual(journal.head)
    }
    return journal.head
  } finally {
    await journal.close()
  }
}

export interface WriterOptions {
  readonly first?: number
  readonly count?: number
  readonly inFlight?: number
  readonly trimEvery?: number
  readonly failpoint?: string
  readonly env?: Readonly<Record<string, string>>
  /** Program and arguments to run it under */
  readonly under?: readonly string[]
}

export interface Writer {
  readonly process: ChildProcess
  /** Resolves when its journal is open, rejects when it ends before */
  readonly ready: Promise<void>
  /** Exit code or signal */
  readonly ended: Promise<number | NodeJS.Signals>
}

export function spawnWriter(root: string, options: WriterOptions = {}): Writer {
  const { first = 0, count = 1_000_000, inFlight = 16, trimEvery = 0 } = options
  const program = new URL('./journal-writer.ts', import.meta.url).pathname
  const numbers = [first, count, inFlight, trimEvery].map(String)
  const [command = '', ...rest] = [...(options.under ?? []), process.execPath, program, root, ...numbers]
  const { NODE_OPTIONS: _, ...env } = process.env
  const child = spawn(command, rest, {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: {
      ...env,
      ...options.env,
      ...(options.failpoint === undefined ? {} : { MANYHANDS_FAILPOINT: options.failpoint }),
    },
  })
  onTestFinished(() => {
    child.stdin?.destroy()
    child.kill('SIGKILL')
  })
  const ended = new Promise<number | NodeJS.Signals>((resolve) => {
    child.once('exit', (code, signal) => resolve(signal ?? code ?? -1))
  })
  const ready = Promise.race([
    once(child.stdout ?? child, 'data').then(() => {}),
    ended.then((how) => Promise.reject(new Error(`the writer ended before it was ready: ${how}`))),
  ])
  ready.catch(() => {})
  return { process: child, ready, ended }
}

/** Numbers in [0, 1) that are the same in every run: a linear congruential generator, Numerical Recipes' constants. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}
