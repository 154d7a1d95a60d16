/**
 * Artifacts on one node: create, commit one file, read a file by path, and very many of them. Store and content API in process on a real journal, every
 * acknowledged operation synced. Beside it in the same run, taking turns where it matters: native git and isomorphic-git on a plain bare repository,
 * neither of which syncs anything by default, signs, or counts quotas.
 *
 * `node bench/artifacts.ts --artifacts=1000000` measures the last part alone, with so many artifacts (default 50,000).
 * Not measured: the local API and Git's door in front of it. Noise: a commit is one sync of the disk, printed beside it.
 */
import { execFile } from 'node:child_process'
import {
  closeSync,
  fdatasyncSync,
  mkdtempSync,
  openSync,
  promises as fs,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs, promisify } from 'node:util'
import git from 'isomorphic-git'
import { Content } from '../daemon/artifacts/content/content.ts'
import { ARTIFACT_RECORDS, openArtifactStore, type OpenStore } from '../daemon/artifacts/store/journal-store.ts'
import type { Journal } from '../daemon/journal/journal.ts'
import { openLevelJournal } from '../daemon/journal/level-journal.ts'
import { signerFromSeed } from '../protocol/signing/signing.ts'
import type { Result } from '../scripts/bench/result.ts'
import { table } from '../scripts/bench/table.ts'
import { median, rate } from './support/mesh-pair.ts'

const { values: args } = parseArgs({
  strict: false,
  options: { artifacts: { type: 'string' }, json: { type: 'boolean' } },
})
const MANY = Number(args.artifacts ?? 50_000)
const FILES = 20_000
const root = mkdtempSync(join(tmpdir(), 'manyhands-bench-'))
const run = promisify(execFile)
const env = {
  PATH: process.env.PATH,
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_AUTHOR_NAME: 'a',
  GIT_AUTHOR_EMAIL: 'a@b',
  GIT_COMMITTER_NAME: 'a',
  GIT_COMMITTER_EMAIL: 'a@b',
}
const native = async (folder: string, ...words: string[]): Promise<string> =>
  (await run('git', ['-C', folder, ...words], { env })).stdout.trim()
const by = { agent: 'bench' }
let counter = 0
const next = (): string => `n${String(counter++).padStart(9, '0')}`

async function openStore(name: string): Promise<{ store: OpenStore; journal: Journal; close: () => Promise<void> }> {
  const journal = await openLevelJournal({
    folder: join(root, name),
    markFile: join(root, `${name}.mark`),
    types: ARTIFACT_RECORDS,
  })
  const quotas = { agentArtifacts: 100_000_000, nodeArtifacts: 100_000_000 }
  const store = await openArtifactStore({
    root: join(root, `${name}.git`),
    journal,
    signer: signerFromSeed(new Uint8Array(32).fill(7)),
    quotas,
  })
  const close = async (): Promise<void> => {
    await store.close()
    await journal.close()
  }
  return { store, journal, close }
}

/** Milliseconds of each call. */
async function times(count: number, call: () => Promise<unknown>): Promise<number[]> {
  const all: number[] = []
  for (let left = count; left > 0; left--) {
    const start = performance.now()
    await call()
    all.push(performance.now() - start)
  }
  return all
}

async function creating(store: OpenStore): Promise<Result[]> {
  const ours = (): Promise<unknown> => store.create({ name: next(), by })
  const bare = (): Promise<unknown> => run('git', ['init', '-q', '--bare', '--template=', join(root, next())], { env })
  const iso = (): Promise<unknown> => git.init({ fs: { promises: fs }, gitdir: join(root, next()), bare: true })
  const rates = { ours: [] as number[], bare: [] as number[], iso: [] as number[], one: [] as number[] }
  await rate(100, 8, ours)
  for (let round = 0; round < 3; round++) {
    rates.ours.push(await rate(800, 8, ours))
    rates.one.push(await rate(150, 1, ours))
    rates.bare.push(await rate(60, 8, bare))
    rates.iso.push(await rate(60, 8, iso))
  }
  const what = 'create an artifact, 8 at once'
  const value = median(rates.ours)
  return [
    {
      what,
      value,
      unit: '/s',
      bar: '>= 400',
      against: 'git init --bare',
      rival: median(rates.bare),
      ratio: value / median(rates.bare),
    },
    {
      what,
      value,
      unit: '/s',
      against: 'isomorphic-git init',
      rival: median(rates.iso),
      ratio: value / median(rates.iso),
    },
    { what: 'create an artifact, one after another', value: median(rates.one), unit: '/s', bar: '>= 400' },
  ]
}

/** The shortest way of native git to one more file without a work tree: four processes. */
async function nativeCommit(folder: string, file: string): Promise<void> {
  await fs.writeFile(join(folder, 'input'), file)
  const blob = await native(folder, 'hash-object', '-w', join(folder, 'input'))
  const [old, parent] = (await native(folder, 'rev-parse', 'main^{tree}', 'main')).split('\n')
  const index = { ...env, GIT_INDEX_FILE: join(folder, 'bench-index') }
  await run('git', ['-C', folder, 'read-tree', old ?? ''], { env: index })
  await run('git', ['-C', folder, 'update-index', '--add', '--cacheinfo', `100644,${blob},${file}`], { env: index })
  const tree = (await run('git', ['-C', folder, 'write-tree'], { env: index })).stdout.trim()
  const commit = await native(folder, 'commit-tree', tree, '-p', parent ?? '', '-m', file)
  await native(folder, 'update-ref', 'refs/heads/main', commit)
}

async function isomorphicCommit(folder: string, file: string): Promise<void> {
  const at = { fs: { promises: fs }, gitdir: folder }
  const head = await git.resolveRef({ ...at, ref: 'refs/heads/main' })
  const oid = await git.writeBlob({ ...at, blob: Buffer.from(file) })
  const { tree } = await git.readTree({ ...at, oid: head })
  const made = await git.writeTree({ ...at, tree: [...tree, { mode: '100644', path: file, oid, type: 'blob' }] })
  const who = { name: 'a', email: 'a@b', timestamp: 1_700_000_000, timezoneOffset: 0 }
  const commit = await git.writeCommit({
    ...at,
    commit: { tree: made, parent: [head], author: who, committer: who, message: file },
  })
  await git.writeRef({ ...at, ref: 'refs/heads/main', value: commit, force: true })
}

async function committing(store: OpenStore, content: Content): Promise<Result[]> {
  const { id } = await store.create({ name: next(), by })
  const files = Array.from({ length: 100 }, (_, index) => ({ path: `file${index}`, content: Buffer.from(`${index}`) }))
  await content.commit(id, { files, message: 'start', by })
  const start = await content.resolve(id)
  const copies = await Promise.all(
    ['native', 'isomorphic'].map(async (name) => {
      const path = join(root, name)
      await native(root, 'clone', '-q', '--bare', await store.repository(id), path)
      await native(path, 'update-ref', 'refs/heads/main', start)
      return path
    }),
  )
  const [plain = '', iso = ''] = copies
  const log = openSync(join(root, 'floor'), 'w')
  const sync = async (): Promise<void> => {
    writeSync(log, Buffer.alloc(600))
    fdatasyncSync(log)
  }
  const commit = (): Promise<unknown> =>
    content.commit(id, { files: [{ path: `f${counter++ % 40}`, content: Buffer.from(next()) }], message: 'm', by })
  const all = { ours: [] as number[], native: [] as number[], iso: [] as number[], sync: [] as number[] }
  await times(20, commit)
  for (let round = 0; round < 5; round++) {
    all.ours.push(...(await times(60, commit)))
    all.sync.push(...(await times(60, sync)))
    all.native.push(...(await times(4, () => nativeCommit(plain, next()))))
    all.iso.push(...(await times(20, () => isomorphicCommit(iso, next()))))
  }
  closeSync(log)
  const spread = await Promise.all(Array.from({ length: 16 }, () => store.create({ name: next(), by })))
  let turn = 0
  const anywhere = (): Promise<unknown> =>
    content.commit(spread[turn++ % 16]?.id ?? '', {
      files: [{ path: 'f', content: Buffer.from(next()) }],
      message: 'm',
      by,
    })
  const value = median(all.ours)
  const what = 'commit one file of 100 by API, synced'
  return [
    {
      what,
      value,
      unit: 'ms',
      bar: '<= 4',
      against: 'native git, unsynced',
      rival: median(all.native),
      ratio: median(all.native) / value,
    },
    {
      what,
      value,
      unit: 'ms',
      against: 'isomorphic-git, unsynced',
      rival: median(all.iso),
      ratio: median(all.iso) / value,
    },
    {
      what,
      value,
      unit: 'ms',
      against: 'write + fdatasync alone',
      rival: median(all.sync),
      ratio: median(all.sync) / value,
      note: 'the floor',
    },
    { what: 'commits to 16 artifacts at once', value: await rate(600, 16, anywhere), unit: '/s' },
  ]
}

async function reading(store: OpenStore, content: Content): Promise<Result[]> {
  const { id } = await store.create({ name: next(), by })
  const path = (index: number): string => `src/part${index % 200}/file${index}.ts`
  for (let from = 0; from < FILES; from += 10_000) {
    const files = Array.from({ length: 10_000 }, (_, at) => ({
      path: path(from + at),
      content: Buffer.from(`export const n = ${from + at}\n`.repeat(8)),
    }))
    await content.commit(id, { files, message: 'many', by })
  }
  await store.collect(id)
  const folder = await store.repository(id)
  const head = await content.resolve(id)
  let at = 0
  const some = (): string => path((at += 7919) % FILES)
  const ours = (): Promise<unknown> => content.read(id, some())
  const process = (): Promise<unknown> => native(folder, 'cat-file', 'blob', `main:${some()}`)
  const cache = {}
  const iso = (): Promise<unknown> =>
    git.readBlob({ fs: { promises: fs }, gitdir: folder, oid: head, filepath: some(), cache })
  await times(300, ours)
  await times(5, iso)
  const all = { ours: [] as number[], native: [] as number[], iso: [] as number[] }
  for (let round = 0; round < 5; round++) {
    all.ours.push(...(await times(400, ours)))
    all.native.push(...(await times(10, process)))
    all.iso.push(...(await times(40, iso)))
  }
  const value = median(all.ours)
  const what = 'read a file by path, 20,000 packed, warm'
  return [
    {
      what,
      value,
      unit: 'ms',
      bar: '<= 0.5',
      against: 'git cat-file, a process each',
      rival: median(all.native),
      ratio: median(all.native) / value,
    },
    {
      what,
      value,
      unit: 'ms',
      against: 'isomorphic-git, cached',
      rival: median(all.iso),
      ratio: median(all.iso) / value,
    },
  ]
}

/** Memory of this process alone: tables of the journal that are mapped are the system's cache, which it takes back when it wants. */
function privateMiB(): number {
  globalThis.gc?.()
  const [, kib] = /RssAnon:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8')) ?? []
  return Number(kib) / 1024
}

async function many(): Promise<Result[]> {
  const { store, close } = await openStore('many')
  try {
    const parts = 5
    const rates: number[] = []
    const memory: number[] = []
    for (let part = 0; part < parts; part++) {
      rates.push(await rate(MANY / parts, 64, () => store.create({ name: next(), by })))
      memory.push(privateMiB())
      // A million takes minutes
      process.stderr.write(
        `${MANY * ((part + 1) / parts)} made, ${Math.round(rates.at(-1) ?? 0)}/s, ${Math.round(memory.at(-1) ?? 0)} MiB\n`,
      )
    }
    const [first = 0, last = 0] = [rates[0], rates.at(-1)]
    let after = ''
    const page = async (): Promise<void> => {
      const found = await store.list({ limit: 100, ...(after === '' ? {} : { after }) })
      after = found.next ?? ''
    }
    await times(20, page)
    const pages = await times(200, page)
    const each = MANY.toLocaleString('en')
    return [
      {
        what: `create ${each} artifacts, 64 at once: the last fifth`,
        value: last,
        unit: '/s',
        against: 'the first fifth',
        rival: first,
        ratio: last / first,
        ratioBar: '>= 0.8',
      },
      { what: `page of 100 among ${each}`, value: median(pages), unit: 'ms', bar: '<= 5' },
      {
        what: `memory after ${each} artifacts`,
        value: (memory.at(-1) ?? 0) - (memory[0] ?? 0),
        unit: 'MiB',
        note: `more than after the first fifth (${(memory[0] ?? 0).toFixed(0)} MiB), mapped files not counted`,
      },
    ]
  } finally {
    await close()
  }
}

async function measure(): Promise<Result[]> {
  if (args.artifacts !== undefined) return many()
  const { store, close } = await openStore('store')
  try {
    const content = new Content(store)
    return [
      ...(await creating(store)),
      ...(await committing(store, content)),
      ...(await reading(store, content)),
      ...(await many()),
    ]
  } finally {
    await close()
  }
}

try {
  const results = await measure()
  if (process.stdout.isTTY && args.json !== true) process.stdout.write(`${table(results)}\n`)
  else for (const result of results) process.stdout.write(`${JSON.stringify(result)}\n`)
} finally {
  rmSync(root, { recursive: true, force: true })
}
