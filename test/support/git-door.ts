/** The Git door over a real store, on a loopback port of its own; and Git clients that know nothing of this host's user. */
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createGitDoor, type GitDoor } from '../../daemon/artifacts/git-door/git-door.ts'
import { GIT_TOKEN_RECORDS } from '../../daemon/artifacts/git-door/git-tokens.ts'
import { LFS_RECORDS } from '../../daemon/artifacts/git-door/lfs-store.ts'
import type { DoorLimits } from '../../daemon/artifacts/git-door/limits.ts'
import type { ArtifactView } from '../../daemon/artifacts/store/artifact-store.ts'
import { ARTIFACT_RECORDS, type OpenStore, openArtifactStore } from '../../daemon/artifacts/store/journal-store.ts'
import type { Quotas } from '../../daemon/artifacts/store/usage.ts'
import { MemoryJournal } from '../../daemon/journal/memory-journal.ts'
import { signerFromSeed } from '../../protocol/signing/signing.ts'

export interface DoorKit {
  readonly folder: string
  readonly store: OpenStore
  readonly journal: MemoryJournal
  readonly door: GitDoor
  readonly port: number
  readonly faults: unknown[]
  /** Token of the local API with that level: "admin", "run", "read" */
  url(artifact: string, token?: string): string
  create(name: string): Promise<ArtifactView>
  /** Runs git; rejects with what it said. */
  git(...args: string[]): Promise<string>
  /** The same, whatever comes out. */
  tryGit(...args: string[]): Promise<{ readonly code: number; readonly text: string }>
  close(): Promise<void>
}

export interface KitOptions {
  readonly limits?: Partial<DoorLimits>
  readonly quotas?: Partial<Quotas>
  readonly wallMs?: () => number
  /** Folder of the repositories. @default one of its own */
  readonly root?: string
}

export async function openDoor(options: KitOptions = {}): Promise<DoorKit> {
  const folder = mkdtempSync(join(tmpdir(), 'git-door-'))
  const journal = new MemoryJournal({ types: [...ARTIFACT_RECORDS, ...GIT_TOKEN_RECORDS, ...LFS_RECORDS] })
  const faults: unknown[] = []
  const store = await openArtifactStore({
    root: options.root ?? join(folder, 'artifacts'),
    journal,
    signer: signerFromSeed(new Uint8Array(32).fill(7)),
    quotas: options.quotas ?? {},
    onFault: (_what, error) => faults.push(error),
  })
  const levels = ['admin', 'run', 'read'] as const
  const door = createGitDoor({
    store,
    journal,
    callerOf: (token) => {
      const access = levels.find((level) => level === token)
      return access && { name: 'local', access }
    },
    onFault: (error) => faults.push(error),
    limits: options.limits ?? {},
    ...(options.wallMs === undefined ? {} : { wallMs: options.wallMs }),
  })
  const server = createServer({ noDelay: true }, (request, response) => void door.handle(request, response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const tryGit = (...args: string[]): Promise<{ code: number; text: string }> => run('git', args, folder)
  return {
    folder,
    store,
    journal,
    door,
    port,
    faults,
    url: (artifact, token = 'admin') => `http://x:${token}@127.0.0.1:${port}/git/${artifact}.git`,
    create: (name) => store.create({ name }),
    tryGit,
    async git(...args) {
      const { code, text } = await tryGit(...args)
      if (code !== 0) throw new Error(`git ${args.join(' ')} ended with ${code}: ${text}`)
      return text
    },
    async close() {
      await door.close()
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
      await store.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** Runs a program to its end. @returns exit code, standard output and error together */
export function run(
  file: string,
  args: readonly string[],
  cwd: string,
  env: Readonly<Record<string, string>> = {},
): Promise<{ code: number; text: string }> {
  const person = {
    GIT_AUTHOR_NAME: 'a',
    GIT_AUTHOR_EMAIL: 'a@example.org',
    GIT_COMMITTER_NAME: 'a',
    GIT_COMMITTER_EMAIL: 'a@example.org',
  }
  const surroundings = {
    ...{ PATH: process.env.PATH ?? '/usr/bin:/bin', HOME: cwd, LC_ALL: 'C', GIT_TERMINAL_PROMPT: '0' },
    ...{ GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1' },
  }
  return new Promise((resolve) => {
    const options = { cwd, env: { ...surroundings, ...person, ...env }, maxBuffer: 64 << 20, timeout: 60_000 }
    execFile(file, [...args], options, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : 127
      resolve({ code, text: stdout + stderr })
    })
  })
}
