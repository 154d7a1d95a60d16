/** The closing line counts whatever is not a passed test as failed: also files that cannot load, hooks that throw, errors nobody awaited. */
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { runTool } from '../../scripts/check/gate.ts'

const PROJECT = fileURLToPath(new URL('../..', import.meta.url))
const HEAD = `import { beforeAll, describe, expect, test } from 'vitest'\n`

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'manyhands-closing-'))
  await symlink(join(PROJECT, 'node_modules'), join(folder, 'node_modules'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

/** What the reporter writes about a run of these test files. */
async function closing(files: Readonly<Record<string, string>>): Promise<{ line: string; code: number }> {
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text)
  const reporter = join(PROJECT, 'scripts/closing-line.ts')
  const vitest = join(PROJECT, 'node_modules/vitest/vitest.mjs')
  const { code, stdout } = await runTool(folder, vitest, ['run', '--root', folder, `--reporter=${reporter}`], {
    TEST_SUMMARY_FILE: '',
  })
  return { code, line: stdout.trim().split('\n').at(-1) ?? '' }
}

test('all passed', async () => {
  const files = {
    'a.test.ts': `${HEAD}test('a', () => {})\ntest.skip('b', () => {})\n`,
    'b.test.ts': `${HEAD}test('c', () => {})\n`,
  }
  expect(await closing(files)).toEqual({ line: '2 passed, 0 failed', code: 0 })
})

test('every way to fail counts', async () => {
  const files = {
    'fails.test.ts': `${HEAD}test('a', () => {})\ntest('b', () => expect(1).toBe(2))\n`,
    'hook.test.ts': `${HEAD}describe('s', () => {\n  beforeAll(() => { throw new Error('no') })\n  test('c', () => {})\n})\n`,
    'unloadable.test.ts': `import './nowhere.ts'\n`,
    'unhandled.test.ts': `${HEAD}test('d', () => { void Promise.reject(new Error('alone')) })\n`,
  }
  expect(await closing(files)).toEqual({ line: '2 passed, 4 failed', code: 1 })
})

test('the line goes to a file when one is named', async () => {
  const summary = join(folder, 'summary')
  await writeFile(join(folder, 'a.test.ts'), `${HEAD}test('a', () => {})\n`)
  const vitest = join(PROJECT, 'node_modules/vitest/vitest.mjs')
  const reporter = join(PROJECT, 'scripts/closing-line.ts')
  const { stdout } = await runTool(folder, vitest, ['run', '--root', folder, `--reporter=${reporter}`], {
    TEST_SUMMARY_FILE: summary,
  })
  expect(stdout).not.toContain('passed')
  expect(await readFile(summary, 'utf8')).toBe('1 passed, 0 failed\n')
})
