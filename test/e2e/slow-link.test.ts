/** Real daemons on a link that is much slower than what they have to say. */
import { randomBytes } from 'node:crypto'
import { afterEach, expect, test } from 'vitest'
import { RealMesh } from '../support/real-mesh.ts'
import { VethPair, vethProblem } from '../support/veth-pair.ts'

const missing = vethProblem()
if (missing !== undefined) console.warn(`SKIPPED: F11 slow links: ${missing}`)

/** 32 KB a second: the artifact takes fifteen */
const LINK_KBIT = 256
const ARTIFACT_BYTES = 480_000
/** A run is a hundredth of that. Were it behind the artifact, one or two would end before that is through. */
const RUNS = 4
const CONTROL_MS = 5_000

const link = new VethPair()
let mesh: RealMesh | undefined

afterEach(async () => {
  await mesh?.close()
  mesh = undefined
  link.remove()
})

test.skipIf(missing !== undefined)(
  'F11: on a slow link a large clone goes on, and what is small does not wait for it',
  async () => {
    link.connect()
    mesh = await RealMesh.start(link.inside('alice'), link.inside('bob'))
    const [alice, bob] = await Promise.all(mesh.nodes.map((node) => node.sdk()))
    if (alice === undefined || bob === undefined) throw new Error('a node is missing')
    const made = await alice.artifacts.create({ name: 'large' })
    const base64 = randomBytes(ARTIFACT_BYTES).toString('base64')
    const { commit } = await made.commit({ files: [{ path: 'large', base64 }], message: 'large' })
    const double = (): Promise<unknown> =>
      alice.run('export default (n) => n * 2', { input: 1, requires: { on: 'bob' } })
    await double()

    link.slow(LINK_KBIT)
    let over = false
    const clone = bob.artifacts.fetch(made.id).finally(() => {
      over = true
    })
    const took: number[] = []
    while (!over) {
      const start = performance.now()
      expect(await double()).toBe(2)
      took.push(performance.now() - start)
    }
    const copy = await clone
    expect((await copy.log({ limit: 1 })).commits).toMatchObject([{ oid: commit }])
    expect(took.length).toBeGreaterThanOrEqual(RUNS)
    expect(took.toSorted((a, b) => a - b)[took.length >> 1]).toBeLessThan(CONTROL_MS)
  },
  120_000,
)
