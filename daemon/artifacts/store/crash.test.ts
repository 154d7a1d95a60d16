/** F04, GIT-15: the process dies at each step of a transaction and of what follows; another start finds all that was acknowledged, and nothing half. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { FAILPOINTS } from '../../failpoint.ts'
import { openLevelJournal } from '../../journal/level-journal.ts'
import { verifyRepository } from '../records/verify.ts'
import { git, testSigner } from '../testing/store-fixture.ts'
import { ARTIFACT_RECORDS, openArtifactStore } from './journal-store.ts'

const child = new URL('../testing/crash-child.ts', import.meta.url).pathname
let root: string
let source: string
let tip: string
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'manyhands-crash-'))
  source = join(root, 'source')
  mkdirSync(source)
  git(source, 'init', '-q', '-b', 'main')
  writeFileSync(join(source, 'pushed.txt'), 'pushed')
  git(source, 'add', '.')
  git(source, 'commit', '-q', '-m', 'pushed')
  tip = git(source, 'rev-parse', 'HEAD').trim()
})
afterAll(() => rmSync(root, { recursive: true, force: true }))

interface Told {
  readonly main: string | null
  readonly pushed: string | null
  readonly names: readonly string[]
}

const own = Object.keys(FAILPOINTS).filter((name) => /^artifact\.(before|after|settle|remove)/.test(name))
const cases = [
  ...own.flatMap((point) => (/settle|remove/.test(point) ? [`${point}:kill`] : [`${point}:kill:2`, `${point}:kill:4`])),
  'journal.before-batch:kill:4',
  'journal.after-batch:kill:4',
]

/** Ids of the repositories on disk. */
function onDisk(folder: string): string[] {
  return readdirSync(folder, { recursive: true })
    .map(String)
    .filter((path) => /^\w\w\/\w\w\/\w+$/.test(path))
    .map((path) => path.slice(6))
}

test.each(cases)('F04: killed at %s', { timeout: 60_000 }, async (failpoint) => {
  const folder = join(root, failpoint.replaceAll(':', '-'))
  mkdirSync(folder)
  const run = spawnSync(process.execPath, [child, folder, source, tip], {
    env: { ...process.env, MANYHANDS_FAILPOINT: failpoint },
    encoding: 'utf8',
  })
  expect([run.signal, run.stderr]).toEqual(['SIGKILL', ''])
  const told = run.stdout
    .trim()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Told)
  const last = told.at(-1)
  const journal = await openLevelJournal({
    folder: join(folder, 'journal'),
    markFile: join(folder, 'mark'),
    types: ARTIFACT_RECORDS,
    create: false,
  })
  const faults: unknown[] = []
  const store = await openArtifactStore({
    root: join(folder, 'git'),
    journal,
    signer: testSigner(1),
    onFault: (_, error) => faults.push(error),
  })
  try {
    const notes = store.get('notes')
    if (notes === undefined) return expect(last).toBeUndefined()
    const main = store.refs(notes.id).get('refs/heads/main') ?? null
    const path = await store.repository(notes.id)
    const history = main === null ? [] : git(path, 'rev-list', 'main').trim().split('\n')
    // what was told is there; at most one thing more is, which nobody had been told of yet
    if (last?.main) expect(history.indexOf(last.main)).toBeOneOf([0, 1])
    if (last?.pushed) expect(store.refs(notes.id).get('refs/heads/pushed')).toBe(tip)
    expect(await verifyRepository(path, { artifact: notes.id })).toMatchObject({ valid: true, faults: [] })
    expect(existsSync(join(folder, 'git', 'staging'))).toBe(false)
    const known = await store.ids()
    expect(onDisk(join(folder, 'git')).filter((id) => !known.includes(id))).toEqual([])
    expect(await journal.range('artifact-pending')).toEqual([])
    expect(
      readdirSync(join(path, 'objects', 'pack')).filter((name) => name.startsWith('tmp_') && name.endsWith('.pack')),
    ).toEqual([])
    expect(faults).toEqual([])
  } finally {
    await store.close()
    await journal.close()
  }
})
