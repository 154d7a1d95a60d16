import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import { expect, test } from 'vitest'
import { silentIo } from '../../test/support/cli-context.ts'
import { runCommand } from './context.ts'
import { standardInput } from './inputs.ts'

test('a Ctrl-C that arrives twice at once interrupts once: the command can still cancel what it began', async () => {
  let interruptions = 0
  const code = await runCommand(silentIo, false, async ({ signal }) => {
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

test('standard input that stands still does not outlive the command that read it', async () => {
  const stdin = new PassThrough()
  const code = await runCommand({ ...silentIo, stdin }, false, async (context) => {
    // As the client does with the source of what has ended: the piece that was asked for is not waited for
    void standardInput(context)
      [Symbol.asyncIterator]()
      .next()
      .catch(() => undefined)
    throw new Error('the sandbox is gone')
  })
  expect(code).toBe(70)
  expect(stdin.destroyed).toBe(true)
})
