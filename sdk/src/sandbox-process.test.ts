import { expect, it } from 'vitest'
import { exitCodeOf } from './sandbox-process.ts'

it.each([
  ['SIGKILL', 137],
  ['SIGBUS', 135],
  ['SIGFPE', 136],
  ['SIGILL', 132],
  ['SIGUSR1', 138],
  ['SIGXCPU', 152],
] as const)('a command that %s ended has the exit code a shell gives it', (signal, code) => {
  expect(exitCodeOf({ reason: 'signal', signal })).toBe(code)
})
