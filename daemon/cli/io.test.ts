import { spawnSync } from 'node:child_process'
import { expect, it } from 'vitest'

const url = (file: string): string => JSON.stringify(new URL(file, import.meta.url))
const script = `
  import { processIo } from ${url('./io.ts')}
  import { runCommand } from ${url('./context.ts')}
  process.exitCode = await runCommand(processIo(), false, async ({ output }) => {
    try {
      for (;;) await output.line('a line')
    } finally {
      await new Promise((resolve) => setTimeout(resolve, 50))
      output.note('what it began has ended')
    }
  })`

it('a command whose reader leaves ends what it began, and then quietly', () => {
  const shell = 'exec 3> >(true); wait $!; "$0" --input-type=module-typescript -e "$1" >&3'
  const ended = spawnSync('bash', ['-c', shell, process.execPath, script], { encoding: 'utf8', timeout: 20_000 })
  expect(ended).toMatchObject({ status: 141, stderr: 'what it began has ended\n' })
})
