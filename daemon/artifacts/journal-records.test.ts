import { expect, it } from 'vitest'
import { GIT_TOKEN_RECORDS } from './git-door/git-tokens.ts'
import { LFS_RECORDS } from './git-door/lfs-store.ts'
import { ARTIFACT_JOURNAL_RECORDS } from './journal-records.ts'
import { REPLICATION_RECORDS } from './replicate/holding-book.ts'
import { ARTIFACT_RECORDS } from './store/rows.ts'
import { TASK_FILES_RECORDS } from './task-files/artifact-tasks.ts'
import { TRIGGER_RECORDS } from './triggers/trigger-book.ts'

it('the journal knows every kind of record that artifacts write', () => {
  const written = [
    ...ARTIFACT_RECORDS,
    ...REPLICATION_RECORDS,
    ...GIT_TOKEN_RECORDS,
    ...LFS_RECORDS,
    ...TASK_FILES_RECORDS,
    ...TRIGGER_RECORDS,
  ]
  expect([...ARTIFACT_JOURNAL_RECORDS].sort()).toEqual([...written].sort())
})
