import { once } from 'node:events'
import { Readable } from 'node:stream'
import { expect, test } from 'vitest'
import { runCommand } from './context.ts'
import type { Io } from './io.ts'

const silent: Io = {
  stdin: Readable.from([]),
  writeOut: () => Promise.resolve(),
  writeErr: () => undefined,
  columns: undefined,
  interactive: false,
  writeBytes: () => Promise.resolve(),
  tty: undefined,
  env: {},
}

test('a Ctrl-C that arrives twice at once interrupts once: the command can still cancel what it began', async () => {
  let interruptions = 0
  const code = await runCommand(silent, false, async ({ signal }) => {
    const aborted = once(signal, 'abort')
    process.emit('SIGINT')
    process.emit('SIGINT')
    await aborted
    interruptions++
    throw signal.reason
  })
  expect(interruptions).toBe(1)
  expect(code).toBe(130)
})
