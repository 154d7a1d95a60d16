import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { expect, it } from 'vitest'
import { mergeConfig } from './config/load.ts'
import { resolvePaths } from './config/paths.ts'
import { filesCheck, lendingCheck } from './doctor.ts'

it('a file without which the next start fails is told while the daemon still runs', async () => {
  const home = await mkdtemp(join(tmpdir(), 'manyhands-doctor-'))
  try {
    const paths = resolvePaths({ MANYHANDS_HOME: home }, 0, '/')
    await mkdir(paths.journalDir, { recursive: true })
    for (const file of [paths.identityFile, paths.meshFile, paths.journalMark]) {
      await mkdir(dirname(file), { recursive: true })
      await writeFile(file, '')
    }
    expect(filesCheck(paths)).toMatchObject({ ok: true, level: 'ok' })
    await rm(paths.stateDir, { recursive: true })
    expect(filesCheck(paths)).toMatchObject({ ok: false, level: 'fail', found: `gone: ${paths.journalMark}` })
  } finally {
    await rm(home, { recursive: true })
  }
})

it('a node that lends nothing, since it isolates less than it demands, is told so', () => {
  const told = (variables: Record<string, string>) =>
    lendingCheck(mergeConfig(undefined, variables, {}).config, 'jailed')
  expect(told({})).toMatchObject({ ok: true, level: 'ok' })
  expect(told({ MANYHANDS_EXECUTOR_GRADE: 'gvisor' })).toMatchObject({
    ok: false,
    level: 'fail',
    hint: 'Lower executor.grade to "jailed"',
  })
  const unwanted = { MANYHANDS_EXECUTOR_GRADE: 'gvisor', MANYHANDS_PLACEMENT_ACCEPT_FROM_PEERS: 'false' }
  expect(told(unwanted)).toMatchObject({ ok: true, level: 'ok' })
})
