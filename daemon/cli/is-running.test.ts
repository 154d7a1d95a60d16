import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { expect, test } from 'vitest'
import { isRunning } from './is-running.ts'

test('a process that has ended does not run, also while its parent does not ask about it', async () => {
  // The parent never waits for its child, which ends a moment after it was seen
  const parent = spawn('/bin/sh', ['-c', 'sleep 1 & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'ignore'] })
  try {
    const [text] = (await once(parent.stdout, 'data')) as [Buffer]
    const child = Number(text.toString())
    expect([child > 1, isRunning(child), isRunning(process.pid)]).toEqual([true, true, true])
    await expect.poll(() => isRunning(child), { timeout: 10_000 }).toBe(false)
    expect(() => process.kill(child, 0)).not.toThrow()
  } finally {
    parent.kill('SIGKILL')
  }
  await once(parent, 'exit')
  expect(isRunning(parent.pid ?? 0)).toBe(false)
})
