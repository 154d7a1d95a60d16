import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { settle, startedMark } from './setting.ts'

describe('the first start of a node', () => {
  let home: string
  beforeEach(async () => {
    home = await mkdtemp(join(tmpdir(), 'manyhands-setting-'))
  })
  afterEach(() => rm(home, { recursive: true }))
  const start = (flags: Record<string, string> = {}) => settle({ env: { MANYHANDS_HOME: join(home, 'h') }, flags })

  test.each(['x'.repeat(64), 'é'.repeat(32)])('a node of the longest name, %s, starts again', async (name) => {
    const first = await start({ name })
    const again = await start({ name })
    expect(again.mesh.meshId).toBe(first.mesh.meshId)
    expect(again.mesh.meshName).toBe(first.mesh.meshName)
  })

  test('F23 a node that ran before and lost its mesh file, or its identity too, begins nothing anew', async () => {
    const { paths } = await start()
    await writeFile(startedMark(paths), '')
    await rm(paths.meshFile)
    await expect(start()).rejects.toMatchObject({ code: 'E_CONFIG' })
    await rm(paths.identityFile)
    await expect(start()).rejects.toMatchObject({ code: 'E_IDENTITY' })
  })

  test('two that start at once agree on one mesh, which is the one of the next start', async () => {
    const started = await Promise.all(Array.from({ length: 4 }, () => start()))
    const { mesh } = await start()
    expect(new Set(started.map((one) => one.mesh.meshId))).toEqual(new Set([mesh.meshId]))
    expect(new Set(started.map((one) => one.mesh.networkKey.join()))).toEqual(new Set([mesh.networkKey.join()]))
  })
})
