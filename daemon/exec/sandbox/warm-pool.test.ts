import { expect, it } from 'vitest'
import type { Awake, Made } from './container-host.ts'
import { DEFAULT_LIMITS } from './limits.ts'
import type { Recipe } from './recipe.ts'
import { WarmPool } from './warm-pool.ts'

const DIGEST = `sha256:${'0'.repeat(64)}`
const RECIPE: Recipe = {
  ...{ profile: 'strict', grade: 'jailed', runtime: 'runc', image: { name: 'i', digest: DIGEST }, root: DIGEST },
  ...{ limits: DEFAULT_LIMITS, workspace: 'tmpfs', rootQuota: 'read-only' },
}

/** A pool of two of a kind, of which so many can be made. */
function poolOf(room: number) {
  const there = new Set<string>()
  let made = 0
  const pool = new WarmPool({
    ...{ each: 2, kinds: 1, settleMs: 60_000 },
    async make(recipe) {
      if (there.size >= room) throw new Error('There is no room')
      const id = `box${++made}`
      there.add(id)
      const guest: Partial<Awake['guest']> = { close: () => undefined }
      return {
        made: { ...recipe, id, container: id, disk: 'd1', token: '' },
        awake: { guest: guest as Awake['guest'], pid: 1, freezer: undefined, evidence: async () => undefined },
      }
    },
    discard: async ({ id }: Made) => void there.delete(id),
    trouble: () => undefined,
  })
  return { pool, there }
}

it('keeps those that are ready where the next cannot be made', async () => {
  const { pool, there } = poolOf(1)
  await pool.warm(RECIPE)
  expect([...pool.ids()]).toEqual([...there])
  await pool.close()
  expect([...there]).toEqual([])
})

it('makes the rest once it is asked again', async () => {
  const { pool, there } = poolOf(1)
  await pool.warm(RECIPE)
  const first = pool.take(RECIPE)
  there.delete(first?.made.id ?? '')
  await pool.warm(RECIPE)
  expect([first?.made.id, ...pool.ids()]).toEqual(['box1', 'box2'])
  await pool.close()
})
