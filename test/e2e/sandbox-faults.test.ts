/** What becomes of a sandbox when a node or an engine that it needs is gone: two real daemons, and an engine of this file's own, to be killed. */
import { existsSync, mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Mesh, Sandbox } from '../../sdk/src/index.ts'
import {
  ask,
  busyboxRoot,
  endEngine,
  importRoot,
  startEngine,
  stopEngine,
  TEST_IMAGE,
} from '../support/docker-engine.ts'
import { RealMesh, type RealNode, until } from '../support/real-mesh.ts'

const able = process.geteuid?.() === 0 && existsSync('/usr/sbin/dockerd')
if (!able) console.warn('Tests that kill an engine are skipped: they need root and dockerd')
const LIMITS = { memoryBytes: 96 << 20, diskBytes: 32 << 20, tmpBytes: 8 << 20, inodes: 2_000, pids: 256 }
const SILENCE_MS = 3_000
const LEASE_MS = 6_000

describe.skipIf(!able)('sandboxes on a peer', { timeout: 120_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'mh-engine-'))
  const socket = join(folder, 'docker.sock')
  let mesh: RealMesh
  let alice: RealNode
  let bob: RealNode
  let sdk: Mesh

  beforeAll(async () => {
    await startEngine(folder)
    await importRoot(socket, TEST_IMAGE, await busyboxRoot())
    const settings = {
      'sandbox.image': TEST_IMAGE,
      'sandbox.warmEach': '0',
      'sandbox.silenceMs': String(SILENCE_MS),
      'sandbox.leaseMs': String(LEASE_MS),
    }
    mesh = await RealMesh.start(
      { name: 'alice', settings: { ...settings, 'sandbox.engine': 'none' } },
      { name: 'bob', settings: { ...settings, 'sandbox.engine': `unix://${socket}` } },
    )
    ;[alice, bob] = mesh.nodes as [RealNode, RealNode]
    sdk = await alice.sdk()
  }, 90_000)
  const offers = async (): Promise<boolean> =>
    (await sdk.peers()).some(({ executors }) => executors.some(({ kind }) => kind === 'sandbox'))
  beforeEach(() => until(offers, 'bob offers sandboxes'), 60_000)
  afterAll(async () => {
    await mesh?.close()
    await endEngine(folder)
  }, 60_000)

  const make = (name: string): Promise<Sandbox> => sdk.sandbox({ on: 'bob', name, limits: LIMITS, isolation: 'jailed' })
  /** Of the containers of this engine, all or those that run. */
  const containers = async (running: boolean): Promise<number> => {
    const { text } = await ask(socket, 'GET', `/containers/json?all=${running ? 0 : 1}`)
    return [...text.matchAll(/"Id":"[0-9a-f]{64}"/g)].length
  }
  const back = async (): Promise<void> => {
    sdk = await alice.up()
    await mesh.connected()
  }

  test('F05: when its engine is killed commands end typed, the node serves on, and all is there again with the engine', async () => {
    const box = await make('engineless')
    await box.files.write('kept', 'kept')
    expect((await box.exec(['sync'])).ok).toBe(true)
    const running = box.exec(['sh', '-c', 'echo > on; sleep 60'])
    await until(async () => (await box.files.list('.')).some(({ name }) => name === 'on'), 'the command runs')
    await stopEngine(folder, 'SIGKILL')
    expect(['engine-lost', 'sandbox-lost']).toContain((await running).end.reason)
    const code = (error: unknown): unknown => (error instanceof Error && 'code' in error ? error.code : error)
    await until(async () => (await box.exec(['true']).then(() => '', code)) === 'E_ENGINE_LOST', 'the loss to be told')
    await expect(make('another')).rejects.toMatchObject({
      code: expect.stringMatching(/^E_ENGINE_LOST$|^E_NO_CANDIDATE$/) as string,
    })

    // It serves, and does not spin while it waits for the engine
    const cpu = (): number => Number(readFileSync(`/proc/${bob.pid}/stat`, 'utf8').split(') ')[1]?.split(' ')[11])
    const before = cpu()
    expect(await sdk.run('export default (n) => n + 1', { input: 1, requires: { on: 'bob' } })).toBe(2)
    expect((await (await bob.sdk()).status()).name).toBe('bob')
    await new Promise((resolve) => setTimeout(resolve, 2_000))
    expect(cpu() - before).toBeLessThan(100)

    await until(async () => !(await offers()), 'the mesh to hear of it')
    await startEngine(folder)
    await until(async () => (await box.files.readText('kept').catch(() => '')) === 'kept', 'the engine to be found')
    await box.remove()
    await until(async () => (await containers(false)) === 0, 'nothing to be left')
  })

  test('one whose owner is gone sleeps, is there when the owner comes back in time, and is removed when it does not', async () => {
    const box = await make('orphan')
    await box.files.write('kept', 'kept')
    // While the owner is there nothing happens to it, used or not
    await new Promise((resolve) => setTimeout(resolve, SILENCE_MS + 1_000))
    expect((await box.refresh()).state).toBe('running')

    await alice.kill()
    await until(async () => (await containers(true)) === 0, 'it sleeps')
    expect(await containers(false)).toBe(1)
    await back()
    const again = await sdk.sandboxes.get('orphan')
    await until(async () => (await again.files.readText('kept').catch(() => '')) === 'kept', 'it wakes with its files')

    await alice.kill()
    await until(async () => (await containers(false)) === 0, 'it is removed')
    await back()
    await until(async () => (await sdk.sandboxes.list())[0]?.state === 'lost', 'its owner hears that it is lost')
    expect((await sdk.sandboxes.list())[0]).toMatchObject({
      name: 'orphan',
      note: 'its node does not have it any more',
    })
    await (await sdk.sandboxes.get('orphan')).remove()
    expect(await sdk.sandboxes.list()).toEqual([])
  })
})
