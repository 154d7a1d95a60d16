/** What is kept of an artifact beside its records goes when it is removed, whenever the node dies, and before the same artifact can come again. */
import { createHash } from 'node:crypto'
import { afterEach, expect, test } from 'vitest'
import { GitTokens } from '../../daemon/artifacts/git-door/git-tokens.ts'
import { FailingJournal } from '../../daemon/artifacts/testing/failing-journal.ts'
import { ArtifactMesh } from '../support/artifact-mesh.ts'
import { ARTIFACT_TEST_RECORDS, commitFile, eventually } from '../support/artifact-node.ts'

let mesh: ArtifactMesh

afterEach(async () => mesh.close())

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield await Promise.resolve(bytes)
}

test.each([true, false])(
  'what was removed half comes again whole, and with nothing of before (killed: %s)',
  async (isKilled) => {
    mesh = await ArtifactMesh.start('memory', 1, { checkMs: 300 })
    const journal = new FailingJournal(ARTIFACT_TEST_RECORDS, 'artifact.removed')
    let b = await mesh.add({ journal })
    const [a = b] = mesh.nodes
    const bytes = Buffer.from('large')
    const oid = createHash('sha256').update(bytes).digest('hex')
    const isThere = () => eventually('the file is there', () => b.files.size(id, oid) !== undefined)
    const { id } = await a.store.create({ name: 'notes' })
    await a.files.put(id, oid, bytes.length, once(bytes))
    const tip = await commitFile(a, id, `version https://git-lfs.github.com/spec/v1\noid sha256:${oid}\nsize 5\n`)
    await b.replication.clone(id)
    await isThere()
    const tokens = new GitTokens(journal)
    const { secret } = await tokens.create(id, { access: 'write' })

    await b.store.remove(id, {})
    const start = async (): Promise<void> => {
      await mesh.crash(b)
      journal.mend()
      b = await mesh.again(b)
    }
    if (isKilled) await start()
    journal.mend()
    await b.replication.clone(id)
    expect(tokens.check(secret)).toBeUndefined()
    await isThere()
    const { chunks } = await b.files.read(id, oid)
    for await (const chunk of chunks) expect(chunk.equals(bytes)).toBe(true)

    await start()
    expect(await b.store.reader.info(await b.store.repository(id), tip.oid)).toMatchObject({ type: 'commit' })
    expect(b.files.size(id, oid)).toBe(5)
  },
)
