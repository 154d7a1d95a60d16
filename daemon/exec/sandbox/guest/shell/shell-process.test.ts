import { afterEach, expect, it, vi } from 'vitest'
import { MeshError } from '../../../../../protocol/errors.ts'
import type { ExecOptions } from '../guest-connection.ts'
import type { StepResult } from './lane.ts'
import { ShellProcess } from './shell-process.ts'

afterEach(() => {
  vi.useRealTimers()
})

function begin(answer: () => StepResult, options: Partial<ExecOptions> = {}) {
  const asked: string[] = []
  const lane = {
    run: async (script: string): Promise<StepResult> => {
      asked.push(script)
      return answer()
    },
  }
  const context = { lane, before: undefined, start: 'start', from: [0, 0] as const, forget: () => undefined }
  const process = new ShellProcess(
    7,
    { ...context, evidence: async () => undefined, lostKind: () => 'sandbox-lost' },
    { argv: ['program'], ...options },
  )
  return { process, asked }
}

it('a command ends with its sandbox also when nobody reads what it wrote', async () => {
  let lost = false
  const { process, asked } = begin(() => {
    if (lost) throw new MeshError('E_SANDBOX_LOST', 'The sandbox is gone')
    return { status: 0, bytes: Buffer.alloc(256 << 10) }
  })
  const many = async (): Promise<number> => {
    const before = asked.length
    await new Promise((resolve) => setTimeout(resolve, 300))
    return asked.length - before
  }
  // It reads until there is no room for more.
  while ((await many()) > 0);
  lost = true
  process.jobEnded('lost')
  expect(await process.ended).toEqual({ kind: 'sandbox-lost' })
})

it('nothing is done to a command after its end, however long it ran', async () => {
  vi.useFakeTimers()
  const { process, asked } = begin(() => ({ status: 0, bytes: Buffer.alloc(0) }), { timeoutMs: 120_000 })
  await vi.advanceTimersByTimeAsync(60_000)
  process.jobEnded({ id: 7, status: 0, which: '-' })
  expect(await process.ended).toEqual({ kind: 'exit', code: 0 })
  expect(vi.getTimerCount()).toBe(0)
  await vi.advanceTimersByTimeAsync(120_000)
  expect(asked.filter((script) => script.includes('mh_kill'))).toEqual([])
})
