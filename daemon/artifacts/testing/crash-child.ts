/**
 * Works on an artifact store until a failpoint ends it. Says on standard output what it was told is done, one JSON line each: the branch "main" of the
 * artifact "notes" after it, and which artifacts there are. Arguments: a folder for everything, and a repository to take objects from.
 */
import { execFileSync } from 'node:child_process'
import { writeSync } from 'node:fs'
import { join } from 'node:path'
import { openLevelJournal } from '../../journal/level-journal.ts'
import { Content } from '../content/content.ts'
import { ARTIFACT_RECORDS, openArtifactStore } from '../store/journal-store.ts'
import { testSigner } from './store-fixture.ts'

const [folder = '', source = '', tip = ''] = process.argv.slice(2)
const journal = await openLevelJournal({
  folder: join(folder, 'journal'),
  markFile: join(folder, 'mark'),
  types: ARTIFACT_RECORDS,
})
const store = await openArtifactStore({ root: join(folder, 'git'), journal, signer: testSigner(1) })
const content = new Content(store)
const by = { task: 'crash' }
const { id } = store.get('notes') ?? (await store.create({ name: 'notes' }))

function done(): void {
  const names = ['notes', 'other'].filter((name) => store.get(name) !== undefined)
  writeSync(
    1,
    `${JSON.stringify({ main: store.refs(id).get('refs/heads/main') ?? null, pushed: store.refs(id).get('refs/heads/pushed') ?? null, names })}\n`,
  )
}

const commit = async (text: string): Promise<void> => {
  await content.commit(id, { files: [{ path: 'f', content: Buffer.from(text) }], message: text, by })
  done()
}

done()
await commit('one')
await store.repository(id)
await commit('two')
const staging = await store.stage(id)
execFileSync('git', ['-c', 'safe.directory=*', '-C', staging.path, 'fetch', '-q', source, 'main'], { stdio: 'ignore' })
await store.transact(id, [{ ref: 'refs/heads/pushed', old: null, new: tip }], { by, staging })
done()
await commit('three')
await store.collect(id)
await commit('four')
await store.repository(id)
const other = await store.create({ name: 'other' })
done()
await store.repository(other.id)
await store.remove(other.id, by)
done()
await commit('five')
await store.close()
await journal.close()
