/**
 * Clone, push and fetch over the Git door against plain `git http-backend` behind the same kind of HTTP server, by the same native client, taking turns.
 * The door checks a token, understands every request, jails every process, checks what is pushed and journals the move durably (LevelDB, synced); the rival
 * does none of that, and syncs nothing.
 *
 * Repositories: k1 (1,000 files, 20 commits) and k20 (20,000 files, 20 commits). Both sides start with the same packs. Clones are bare; a push or fetch is one
 * commit that changes one file. Noise: absolutes follow the machine's load; the ratios are of interleaved rounds. Not measured: TLS, distance, many clients.
 */
import { execFile, execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, mkdirSync, rmSync } from 'node:fs'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { createGitDoor } from '../daemon/artifacts/git-door/git-door.ts'
import { GIT_TOKEN_RECORDS } from '../daemon/artifacts/git-door/git-tokens.ts'
import { LFS_RECORDS } from '../daemon/artifacts/git-door/lfs-store.ts'
import { ARTIFACT_RECORDS, openArtifactStore } from '../daemon/artifacts/store/journal-store.ts'
import { openLevelJournal } from '../daemon/journal/level-journal.ts'
import { signerFromSeed } from '../protocol/signing/signing.ts'
import type { Result } from '../scripts/bench/result.ts'
import { serveBackend } from './support/git-backend.ts'
import { addCommit, fillRepository } from './support/git-history.ts'
import { quantile } from './support/isolate-load.ts'

const BAR = '>= 0.87' // 1 / 1.15
const run = promisify(execFile)

interface Side {
  /** URL of a repository */
  url(name: string): string
}

const folder = mkdtempSync(join(tmpdir(), 'manyhands-bench-'))
const env = { ...process.env, GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1', GIT_TERMINAL_PROMPT: '0' }
const servers: Server[] = []

async function listen(listener: RequestListener): Promise<number> {
  const server = createServer({ noDelay: true }, listener)
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}

const git = (...args: string[]): Promise<unknown> =>
  run('git', ['-c', 'http.extraHeader=Authorization: Bearer admin', ...args], { env, maxBuffer: 64 << 20 })

async function timed(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now()
  await work()
  return performance.now() - began
}

/** Takes turns, and turns about who begins. @returns medians, milliseconds */
async function compare(
  rounds: number,
  work: (side: 'door' | 'rival', round: number) => Promise<unknown>,
  before: (round: number) => Promise<unknown> = () => Promise.resolve(),
): Promise<{ door: number; rival: number }> {
  const times = { door: [] as number[], rival: [] as number[] }
  for (let round = 0; round <= rounds; round++) {
    await before(round)
    for (const side of round % 2 === 0 ? (['door', 'rival'] as const) : (['rival', 'door'] as const)) {
      const ms = await timed(() => work(side, round))
      // The first one warms caches
      if (round > 0) times[side].push(ms)
    }
  }
  return { door: quantile(times.door, 0.5), rival: quantile(times.rival, 0.5) }
}

function print(what: string, rounds: number, { door, rival }: { door: number; rival: number }): void {
  const against = 'git http-backend'
  const result: Result = {
    what,
    value: door,
    unit: 'ms',
    against,
    rival,
    ratio: rival / door,
    ratioBar: BAR,
    note: `medians of ${rounds}`,
  }
  console.log(JSON.stringify(result))
}

const journal = await openLevelJournal({
  folder: join(folder, 'journal'),
  markFile: join(folder, 'journal.mark'),
  types: [...ARTIFACT_RECORDS, ...GIT_TOKEN_RECORDS, ...LFS_RECORDS],
})
const store = await openArtifactStore({
  root: join(folder, 'artifacts'),
  journal,
  signer: signerFromSeed(new Uint8Array(32).fill(7)),
})
const door = createGitDoor({
  store,
  journal,
  callerOf: (token) => (token === 'admin' ? { name: 'bench', access: 'admin' } : undefined),
})
const root = join(folder, 'rival')
mkdirSync(root)
const doorPort = await listen((request, response) => void door.handle(request, response))
const rivalPort = await listen((request, response) => serveBackend(root, request, response))
const sides: Readonly<Record<'door' | 'rival', Side>> = {
  door: { url: (name) => `http://127.0.0.1:${doorPort}/git/${name}.git` },
  rival: { url: (name) => `http://127.0.0.1:${rivalPort}/${name}.git` },
}

async function measure(name: string, files: number, clones: number, pushes: number): Promise<void> {
  const work = join(folder, `${name}-work.git`)
  execFileSync('git', ['init', '-q', '--bare', '-b', 'main', work], { env })
  await fillRepository(work, files, 20)
  const { id } = await store.create({ name })
  await git('-C', work, 'push', '-q', sides.door.url(name), 'main')
  const held = join(root, `${name}.git`)
  cpSync(await store.repository(id), held, { recursive: true })
  execFileSync('git', ['-C', held, 'config', 'http.receivepack', 'true'], { env })
  const copies = { door: join(folder, `${name}-door.git`), rival: join(folder, `${name}-rival.git`) }
  for (const side of ['door', 'rival'] as const) await git('clone', '-q', '--bare', sides[side].url(name), copies[side])

  const listing = await compare(10, (side) => git('ls-remote', sides[side].url(name)))
  print(`git ls-remote ${name}`, 10, listing)
  const scratch = join(folder, 'clone.git')
  const clone = await compare(clones, async (side) => {
    await git('clone', '-q', '--bare', sides[side].url(name), scratch)
    rmSync(scratch, { recursive: true })
  })
  print(`git clone ${name}: ${files} files`, clones, clone)
  const push = await compare(
    pushes,
    (side) => git('-C', work, 'push', '-q', sides[side].url(name), 'main'),
    (round) => addCommit(work, 1_000 + round),
  )
  print(`git push ${name}: one commit`, pushes, push)
  const fetch = await compare(
    pushes,
    (side) => git('-C', copies[side], 'fetch', '-q', sides[side].url(name), '+main:main'),
    async (round) => {
      await addCommit(work, 2_000 + round)
      for (const side of ['door', 'rival'] as const) await git('-C', work, 'push', '-q', sides[side].url(name), 'main')
    },
  )
  print(`git fetch ${name}: one commit`, pushes, fetch)
}

try {
  await measure('k1', 1_000, 12, 15)
  await measure('k20', 20_000, 6, 10)
} finally {
  await door.close()
  for (const server of servers) {
    server.closeAllConnections()
    server.close()
  }
  await store.close()
  await journal.close()
  rmSync(folder, { recursive: true, force: true })
}
