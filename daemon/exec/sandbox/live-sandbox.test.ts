/** One sandbox, with a container host and an engine that do as they are told. */
import { expect, it } from 'vitest'
import { MeshError } from '../../../protocol/errors.ts'
import type { SandboxRow } from '../../../protocol/sandbox/row.ts'
import type { Awake, ContainerHost } from './container-host.ts'
import type { EngineLink } from './engine/engine-link.ts'
import type { GuestConnection } from './guest/guest-connection.ts'
import { DEFAULT_LIMITS } from './limits.ts'
import { LiveSandbox } from './live-sandbox.ts'
import type { SandboxStore } from './sandbox-store.ts'
import type { SnapshotKeeper } from './snapshot-keeper.ts'

const DIGEST = `sha256:${'0'.repeat(64)}`

const ROW: SandboxRow = {
  ...{ version: 1, id: 'abcdefghij0123456789', owner: 'o', profile: 'strict', grade: 'jailed', runtime: 'runc' },
  ...{ image: { name: 'i', digest: DIGEST }, root: DIGEST, limits: DEFAULT_LIMITS, workspace: 'tmpfs' },
  ...{ rootQuota: 'read-only', env: {}, sleepAfterMs: 0, createdAt: 1, container: 'c1', disk: 'd1' },
  ...{ token: '0'.repeat(32), snapshots: [] },
}

function awake(): { awake: Awake; lose(): void } {
  const closed = Promise.withResolvers<undefined>()
  const guest: Partial<GuestConnection> = { closed: closed.promise, activity: { active: 0, lastAt: 0 } }
  return {
    awake: { guest: guest as GuestConnection, pid: 1, freezer: undefined, evidence: async () => undefined },
    lose: () => closed.resolve(undefined),
  }
}

function live(host: Partial<ContainerHost>, client: object, awakeNow: Awake): LiveSandbox {
  return new LiveSandbox(
    {
      host: host as ContainerHost,
      link: { client: () => client, suspect: () => undefined } as unknown as EngineLink,
      ...{ store: {} as SandboxStore, snapshots: {} as SnapshotKeeper },
      fork: () => Promise.reject(new Error('none')),
      exportContent: () => {
        throw new Error('none')
      },
      removed: () => undefined,
      trouble: () => undefined,
    },
    ROW,
    'running',
    awakeNow,
  )
}

it('is not stopped by what the engine says late of a life before', async () => {
  const [first, second] = [awake(), awake()]
  const host: Partial<ContainerHost> = { start: async () => second.awake }
  const client = { inspect: async () => ({ running: false }) }
  const sandbox = live(host, client, first.awake)
  const died = sandbox.dying()
  first.lose()
  expect(await sandbox.guest()).toBe(first.awake.guest)
  await Promise.resolve()
  expect(await sandbox.guest()).toBe(second.awake.guest)
  died(false, 1)
  expect(sandbox.view().state).toBe('running')
  expect(await sandbox.guest()).toBe(second.awake.guest)
  sandbox.dying()(false, 1)
  expect(sandbox.view().state).toBe('stopped')
})

for (const silent of ['pause', 'unpause'])
  it(`goes on with its next use when the engine did not answer to ${silent}`, async () => {
    const only = awake()
    let paused = false
    let answers = false
    const asked = (name: string, state: boolean) => async () => {
      if (!answers && silent === name) throw new MeshError('E_ENGINE_LOST', 'It did not answer')
      paused = state
    }
    const client = {
      pause: asked('pause', true),
      unpause: asked('unpause', false),
      inspect: async () => ({ id: 'c1', running: true, paused, pid: 0 }),
    }
    const sandbox = live({}, client, only.awake)
    await expect(sandbox.still(async () => undefined)).rejects.toMatchObject({ code: 'E_ENGINE_LOST' })
    answers = true
    // As one that paused it late, or did not let it go on
    paused = true
    expect(sandbox.view().state).toBe('paused')
    expect(await sandbox.guest()).toBe(only.awake.guest)
    expect([sandbox.view().state, paused]).toEqual(['running', false])
  })
