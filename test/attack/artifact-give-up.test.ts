/** GIT-19: a copy that is asked away, by a member that lies or while something else happens to it, takes nothing with it that is nowhere else. */
import { afterEach, expect, test } from 'vitest'
import type { NewRecord } from '../../daemon/journal/journal.ts'
import { MemoryJournal } from '../../daemon/journal/memory-journal.ts'
import { ARTIFACT_METHODS, encodeMessage } from '../../protocol/artifact/replication-messages.ts'
import { MeshError } from '../../protocol/errors.ts'
import { ArtifactMesh } from '../support/artifact-mesh.ts'
import { ARTIFACT_TEST_RECORDS, type ArtifactNode, commitFile, eventually } from '../support/artifact-node.ts'

const MAIN = 'refs/heads/main'
const TIMES = { graceMs: 300, pauseMs: 30, maxPauseMs: 200 }
let mesh: ArtifactMesh

afterEach(async () => mesh.close())

/** A disk that takes as long as the test wants for records of one type. */
class SlowJournal extends MemoryJournal {
  readonly #type: string
  #until: Promise<void> = Promise.resolve()
  #waiting = 0

  constructor(type: string) {
    super({ types: ARTIFACT_TEST_RECORDS })
    this.#type = type
  }

  get waiting(): number {
    return this.#waiting
  }

  hold(): () => void {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#until = promise
    return resolve
  }

  override async append(record: NewRecord): Promise<number> {
    if (record.type !== this.#type) return super.append(record)
    this.#waiting++
    await this.#until
    this.#waiting--
    return super.append(record)
  }
}

/** @returns the code of a refusal, or that the copy was given up */
function release(asker: Pick<ArtifactNode, 'net'>, holder: ArtifactNode, artifact: string): Promise<string> {
  return asker.net.request(holder.id, ARTIFACT_METHODS.release, encodeMessage({ artifact })).then(
    () => 'given up',
    (error: unknown) => (error instanceof MeshError ? error.code : String(error)),
  )
}

const contract = (min: number, max = 8) => ({ replicas: { min, max, mustInclude: [] } })
const holds = (id: string, ...nodes: ArtifactNode[]) =>
  eventually('all hold it', () => nodes.every((node) => node.store.get(id) !== undefined))
/** Until every node has heard from the others what they hold now */
const agree = (id: string, ...nodes: ArtifactNode[]) =>
  eventually('all know of each other', async () => {
    const all = await Promise.all(nodes.map((node) => node.replication.status(id)))
    return all.every(
      ({ holders }) =>
        holders.length === nodes.length && holders.every(({ current, connected }) => current && connected),
    )
  })

test('GIT-19 a push that is being taken when the copy is asked away is kept, and the copy with it', async () => {
  mesh = await ArtifactMesh.start('memory', 1, { times: TIMES, checkMs: 300 })
  const journal = new SlowJournal('artifact.moved')
  const b = await mesh.add({ journal })
  const [a = b] = mesh.nodes
  const { id } = await a.store.create({ name: 'notes', settings: contract(2) })
  await commitFile(a, id, 'first')
  await holds(id, b)
  await a.store.update(id, contract(1), {})
  await agree(id, a, b)

  const go = journal.hold()
  const pushed = commitFile(b, id, 'pushed to the copy')
  await eventually('the push is being taken', () => journal.waiting === 1)
  const asked = release(a, b, id)
  await new Promise((resolve) => setTimeout(resolve, 100))
  go()
  const { oid } = await pushed
  expect(await asked).toBe('E_CONFLICT')
  expect(b.store.refs(id).get(MAIN)).toBe(oid)
  await eventually('the owner has it too', () => a.store.heads(id).has(b.id))
  await agree(id, a, b)
  expect(await release(a, b, id)).toBe('given up')
  expect(b.store.get(id)).toBeUndefined()
})
