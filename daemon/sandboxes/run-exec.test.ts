/** What clients ask of background processes, at a real agent that is a child of this process. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { LIMITS } from '../../protocol/limits.ts'
import { helperCommand, installHelper, newAgentToken } from '../exec/sandbox/guest/agent-command.ts'
import { connectGuest } from '../exec/sandbox/guest/connect.ts'
import type { GuestConnection } from '../exec/sandbox/guest/guest-connection.ts'
import { type ChildAgent, startChildAgent } from '../exec/sandbox/guest/testing/child-agent.ts'
import type { OpLink } from './op-link.ts'
import { passLogs, runExec, signalProcess, startProcess, waitLog } from './run-exec.ts'

const KEPT_BYTES = 64 << 10

/** An asker that keeps what it hears. */
function asker() {
  const gone = new AbortController()
  const heard: string[] = []
  const link: OpLink = {
    send: async (_lane, bytes) => void heard.push(Buffer.from(bytes).toString()),
    finish: () => undefined,
    receive: () => undefined,
    signal: gone.signal,
  }
  return { link, heard, leave: () => gone.abort(new Error('the asker left')) }
}

describe('a background process', () => {
  let folder: string
  let agent: ChildAgent
  let guest: GuestConnection
  let id: number

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'mh-exec-'))
    const helper = await installHelper(folder, process.arch)
    if (helper === undefined) throw new Error(`There is no helper for ${process.arch}`)
    const token = newAgentToken()
    agent = startChildAgent([helper, ...helperCommand(token).slice(1)])
    guest = await connectGuest(agent.transport, { agent: 'helper', token, cwd: folder })
    const argv = ['sh', '-c', 'trap "echo told" USR1; echo ready; while :; do sleep 0.05; done']
    const { process: view } = await startProcess(guest, { op: 'start', sandbox: 'box', argv }, {})
    id = view?.id ?? 0
    await waitLog(guest, { op: 'wait-log', sandbox: 'box', process: id, text: 'ready' }, asker().link.signal)
  })
  afterAll(async () => {
    await agent.stop()
    rmSync(folder, { recursive: true, force: true })
  })

  const more = LIMITS.guestChannels + 1
  const manyTimes = async (job: () => Promise<unknown>): Promise<void> => {
    for (let n = 0; n < more; n++) await job()
    const { link, heard } = asker()
    const end = await runExec(guest, { op: 'exec', sandbox: 'box', argv: ['echo', 'room'] }, {}, link)
    expect([heard, end]).toEqual([['room\n'], { end: { reason: 'exit', code: 0 } }])
  }

  it('takes nothing for good of whoever reads its output', () =>
    manyTimes(async () => {
      const { link, heard } = asker()
      await passLogs(guest, { op: 'logs', sandbox: 'box', process: id }, KEPT_BYTES, link)
      expect(heard.join('')).toMatch(/^ready\n/)
    }))

  it('takes nothing for good of whoever waits for a line, in vain or not', () =>
    manyTimes(async () => {
      const op = { op: 'wait-log', sandbox: 'box', process: id } as const
      const { link } = asker()
      expect(await waitLog(guest, { ...op, text: 'ready' }, link.signal)).toEqual({ line: 'ready' })
      await expect(waitLog(guest, { ...op, text: 'never', timeoutMs: 1 }, link.signal)).rejects.toMatchObject({
        code: 'E_TIMEOUT',
      })
    }))

  it('takes nothing for good of whoever signals it', () => manyTimes(() => signalProcess(guest, id, 'SIGUSR1')))

  it('that writes nothing is not followed for longer than somebody wants to', () =>
    manyTimes(async () => {
      const { process: view } = await startProcess(
        guest,
        { op: 'start', sandbox: 'box', argv: ['sleep', '50'], name: 'silent' },
        {},
      )
      const silent = view?.id ?? 0
      const { link, leave } = asker()
      const following = passLogs(guest, { op: 'logs', sandbox: 'box', process: silent, follow: true }, KEPT_BYTES, link)
      leave()
      await expect(following).rejects.toThrow('the asker left')
      await signalProcess(guest, silent, 'SIGKILL')
      const { link: rest } = asker()
      await passLogs(guest, { op: 'logs', sandbox: 'box', process: silent, follow: true }, KEPT_BYTES, rest)
    }))
})
