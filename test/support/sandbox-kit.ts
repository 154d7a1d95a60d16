/** A sandbox executor on the tests' own engine, and short ways to use it. */
import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { GuestEnd } from '../../daemon/exec/sandbox/guest/guest-connection.ts'
import { SANDBOX_RECORDS } from '../../daemon/exec/sandbox/records.ts'
import type { Sandbox, SandboxSpec } from '../../daemon/exec/sandbox/sandbox.ts'
import {
  createSandboxExecutor,
  type DockerSandboxExecutor,
  type SandboxExecutorOptions,
} from '../../daemon/exec/sandbox/sandbox-executor.ts'
import type { Journal } from '../../daemon/journal/journal.ts'
import { MemoryJournal } from '../../daemon/journal/memory-journal.ts'
import { ask, TEST_IMAGE } from './docker-engine.ts'

export interface SandboxKit {
  readonly nodeId: string
  readonly folder: string
  readonly journal: Journal
  /** What went wrong in the background */
  readonly troubles: string[]
  open(options?: Partial<SandboxExecutorOptions>): Promise<DockerSandboxExecutor>
  /** Ids of all containers of this kit */
  containers(): Promise<string[]>
  /** Removes whatever is left */
  close(): Promise<void>
}

const MIB = 1 << 20
export const SMALL = { diskBytes: 32 * MIB, inodes: 2_000, memoryBytes: 96 * MIB, tmpBytes: 8 * MIB, pids: 256 }
export const SPEC: SandboxSpec = { image: TEST_IMAGE, owner: 'me', grade: 'jailed', limits: SMALL }

/** Where a process that is killed keeps its journal and disks, for the next to take them up. */
export const journalPlace = (folder: string) => ({
  folder: join(folder, '.journal'),
  markFile: join(folder, '.journal.mark'),
})
export const boxesIn = (folder: string): string => join(folder, '.boxes')

export function sandboxKit(socket: string): SandboxKit {
  const nodeId = `t-${randomBytes(6).toString('hex')}`
  const folder = mkdtempSync(join(tmpdir(), 'mh-box-'))
  const journal = new MemoryJournal({ types: SANDBOX_RECORDS })
  const troubles: string[] = []
  const opened: DockerSandboxExecutor[] = []
  const label = encodeURIComponent(JSON.stringify({ label: [`mesh.node=${nodeId}`] }))
  return {
    ...{ nodeId, folder, journal, troubles },
    async open(options = {}) {
      const executor = await createSandboxExecutor({
        ...{ nodeId, folder, journal, engine: `unix://${socket}`, env: {}, home: '/nowhere', tickMs: 50 },
        warm: { each: 0, kinds: 0 },
        trouble: (what, error) => void troubles.push(`${what}: ${String(error)}`),
        ...options,
      })
      opened.push(executor)
      return executor
    },
    async containers() {
      const { text } = await ask(socket, 'GET', `/containers/json?all=1&filters=${label}`)
      return [...text.matchAll(/"Id":"([0-9a-f]{64})"/g)].map(([, id]) => id ?? '')
    },
    async close() {
      for (const executor of opened) {
        for (const sandbox of executor.list()) await sandbox.remove().catch(() => {})
        await executor.close()
      }
      for (const id of await this.containers().catch(() => [])) await ask(socket, 'DELETE', `/containers/${id}?force=1`)
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** Puts a script in the place of `cp` for this process and its children. @returns takes it back */
export function replaceCp(folder: string, script: string): () => void {
  const before = process.env.PATH ?? ''
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'cp'), `#!/bin/sh\n${script}\n`, { mode: 0o755 })
  process.env.PATH = `${folder}:${before}`
  return () => {
    process.env.PATH = before
  }
}

export interface Ran {
  readonly out: string
  readonly err: string
  readonly end: GuestEnd
}

/** Runs a shell script inside. At most a megabyte of its output is kept. */
export async function sh(sandbox: Sandbox, script: string, timeoutMs = 20_000): Promise<Ran> {
  const guest = await sandbox.guest()
  const running = guest.exec({ argv: ['/bin/sh', '-c', script], timeoutMs })
  const texts = { 1: '', 2: '' }
  for await (const { fd, bytes } of running.output)
    if (texts[fd].length < MIB) texts[fd] += Buffer.from(bytes).toString('latin1')
  return { out: texts[1], err: texts[2], end: await running.ended }
}
