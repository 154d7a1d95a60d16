import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { EngineLink } from '../engine/engine-link.ts'
import { rootIn } from './debian-root.ts'
import { EngineImages } from './engine-images.ts'

it('the default image is not built where no engine would take it', async () => {
  const scratch = join(tmpdir(), 'mh-never-built')
  const link = new EngineLink({
    configured: 'none',
    env: {},
    home: scratch,
    uid: 0,
    leastGrade: 'process',
    loopWorkspaces: false,
    label: 'test',
    onUp: () => Promise.resolve(),
    onLost: () => undefined,
    onEvent: () => undefined,
  })
  const steps: unknown[] = []
  const images = new EngineImages(link, scratch)
  await expect(images.buildDefault('test/default:1', { progress: (step) => steps.push(step) })).rejects.toMatchObject({
    code: 'E_NO_ENGINE',
    hint: expect.stringContaining('doctor') as unknown,
  })
  expect([steps, existsSync(scratch)]).toEqual([[], false])
})

it('a root that is removed ends the packing that nobody reads on', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'mh-root-'))
  try {
    await writeFile(join(folder, 'large'), '')
    await truncate(join(folder, 'large'), 64 << 20)
    const root = rootIn(folder)
    const parts = root.tar()[Symbol.asyncIterator]()
    expect((await parts.next()).done).toBe(false)
    await root.remove()
    expect(existsSync(folder)).toBe(false)
    await expect(
      (async () => {
        while (!(await parts.next()).done);
      })(),
    ).rejects.toMatchObject({ code: 'E_IMAGE' })
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})
