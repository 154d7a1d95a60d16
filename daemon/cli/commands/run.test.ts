import { PassThrough } from 'node:stream'
import { expect, it } from 'vitest'
import { cliContext } from '../../../test/support/cli-context.ts'
import type { RunOptions } from '../../../sdk/src/index.ts'
import { run } from './run.ts'

function contextOf(mesh: object) {
  const stdin = new PassThrough()
  stdin.end('export default () => 1')
  return cliContext({ mesh, io: { stdin } })
}

it('a branch with an "@" in its name is taken and given whole', async () => {
  const asked: RunOptions[] = []
  const start = (_: unknown, options: RunOptions) => {
    asked.push(options)
    return Promise.resolve({ id: 't' })
  }
  const context = contextOf({ tasks: { start } })
  await run(context, '-', { detach: true, take: 'notes@dep@1.2', give: 'notes@dep@1.3' })
  expect(asked[0]?.artifacts).toEqual({
    input: { artifact: 'notes', rev: 'dep@1.2' },
    output: { artifact: 'notes', branch: 'dep@1.3' },
  })
})

it('an explanation is not promised to whoever does not wait', async () => {
  const context = contextOf({})
  await expect(run(context, '-', { detach: true, explain: true })).rejects.toMatchObject({ code: 'E_BAD_REQUEST' })
})
