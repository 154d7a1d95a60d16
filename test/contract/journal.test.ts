import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { openLevelJournal } from '../../daemon/journal/level-journal.ts'
import { MemoryJournal } from '../../daemon/journal/memory-journal.ts'
import { CONTRACT_TYPES, journalContract } from './journal-suite.ts'

journalContract('memory', async () => new MemoryJournal({ types: CONTRACT_TYPES }))

journalContract('level', async () => {
  const root = await mkdtemp(join(tmpdir(), 'manyhands-journal-'))
  const journal = await openLevelJournal({
    folder: join(root, 'store'),
    markFile: join(root, 'mark'),
    types: CONTRACT_TYPES,
  })
  onTestFinished(async () => {
    await journal.close()
    await rm(root, { recursive: true })
  })
  return journal
})
