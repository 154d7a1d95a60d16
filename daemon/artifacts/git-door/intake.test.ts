/** What a push was to go into is given back when it does not come to that: as long as it stands, no garbage is collected. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { MeshError } from '../../../protocol/errors.ts'
import { storeFixture, type StoreFixture } from '../testing/store-fixture.ts'
import type { ArtifactView } from '../store/artifact-store.ts'
import { CONFIG } from '../store/repository-files.ts'
import { Intakes } from './intake.ts'
import { DOOR_LIMITS } from './limits.ts'

let fixture: StoreFixture
let view: ArtifactView
let intakes: Intakes
beforeEach(async () => {
  fixture = await storeFixture()
  view = await fixture.store.create({ name: 'n' })
})
afterEach(async () => {
  await intakes.close()
  await fixture.close()
})

test('when its repository cannot be made ready', async () => {
  const stage = (id: string) => fixture.store.stage(id)
  const repository = () => Promise.reject(new MeshError('E_OVERLOADED', 'others wait'))
  intakes = new Intakes({ stage, repository }, DOOR_LIMITS, () => {})
  await expect(intakes.take(view)).rejects.toMatchObject({ code: 'E_OVERLOADED' })
  await fixture.store.collect(view.id)
})

test('when its repository was damaged meanwhile and cannot be mended', async () => {
  intakes = new Intakes(fixture.store, DOOR_LIMITS, () => {})
  const config = join(await fixture.store.repository(view.id), 'config')
  intakes.expect(view)
  await sleep(500)
  rmSync(config)
  mkdirSync(config)
  await expect(intakes.take(view)).rejects.toThrow()
  rmSync(config, { recursive: true })
  writeFileSync(config, CONFIG)
  await fixture.store.collect(view.id)
})
