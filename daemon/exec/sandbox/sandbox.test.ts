import { describe, expect, it } from 'vitest'
import { decodeSandboxRow, encodeSandboxRow, type SandboxRow } from '../../../protocol/sandbox/row.ts'
import { adoption } from './adopt.ts'
import type { EngineInfo } from './engine/engine-info.ts'
import { filesOf } from './evidence.ts'
import { checkImage, checkImageName } from './images/image-check.ts'
import { engineJson } from './engine/engine-json.ts'
import { isSavedImage } from './images/tar-kind.ts'
import { DEFAULT_CEILINGS, DEFAULT_LIMITS } from './limits.ts'
import { ownershipOf, type RecipePolicy, recipeOf } from './recipe.ts'

const DIGEST = `sha256:${'0'.repeat(64)}`

const row: SandboxRow = {
  version: 1,
  id: 'abcdefghij0123456789',
  owner: 'o',
  profile: 'strict',
  grade: 'jailed',
  runtime: 'runc',
  image: { name: 'i', digest: DIGEST },
  root: DIGEST,
  limits: DEFAULT_LIMITS,
  workspace: 'loop',
  rootQuota: 'read-only',
  env: {},
  sleepAfterMs: 0,
  createdAt: 1,
  container: 'c1',
  disk: 'd1',
  token: '0'.repeat(32),
  snapshots: [],
}

describe('rows of sandboxes', () => {
  it('come back as they were, and damaged ones are refused', () => {
    expect(decodeSandboxRow(encodeSandboxRow(row))).toEqual(row)
    for (const bytes of [Buffer.from('{}'), Buffer.from('x'), encodeSandboxRow({ ...row, id: '../../etc' })])
      expect(() => decodeSandboxRow(bytes)).toThrow(expect.objectContaining({ code: 'E_JOURNAL_GAP' }))
  })
})

describe('adoption', () => {
  const container = (id: string, sandbox: string, running = true) => ({
    ...{ id, running, paused: false, labels: { 'mesh.sandbox': sandbox } },
  })

  it('SBX-27: takes up what a row names, removes what none does, leaves what is being made', () => {
    const rows = [
      row,
      { ...row, id: 'b'.repeat(20), container: 'gone' },
      { ...row, id: 'c'.repeat(20), container: 'gone2', rootQuota: 'watched' as const },
    ]
    const found = adoption(
      [container('c1', row.id, false), container('c2', row.id), container('c3', 'new'), container('c4', 'nobody')],
      rows,
      new Set(['new']),
    )
    expect(found.orphans.map(({ id }) => id)).toEqual(['c2', 'c4'])
    expect([...found.states.values()]).toEqual(['stopped', 'stopped', 'lost'])
  })
})

describe('recipes', () => {
  const info: EngineInfo = {
    ...{
      endpoint: '',
      found: 'socket',
      version: '1',
      apiVersion: '1',
      platform: 'linux/amd64',
      cgroup: 2,
      local: true,
    },
    ...{ rootless: false, warnings: [], storage: { driver: 'overlay2', rootQuota: false, loopWorkspaces: true } },
    runtimes: [{ name: 'runc', grade: 'jailed' }],
    hanging: [],
  }
  const policy: RecipePolicy = {
    ...{ defaults: DEFAULT_LIMITS, ceilings: DEFAULT_CEILINGS, sleepAfterMs: 1_000, buildInContainers: false },
  }
  const spec = { image: 'i', owner: 'o' }

  it('profile build wants more than a container unless the operator says otherwise', () => {
    const build = { ...spec, profile: 'build' as const }
    expect(() => recipeOf(build, { digest: DIGEST }, info, policy)).toThrow(
      expect.objectContaining({ code: 'E_GRADE' }),
    )
    const allowed = recipeOf(build, { digest: DIGEST }, info, { ...policy, buildInContainers: true })
    expect([allowed.grade, allowed.rootQuota]).toEqual(['jailed', 'watched'])
  })

  it.each([
    [{ limits: { memoryBytes: 2 ** 50 } }],
    [{ limits: { pids: 1 } }],
    [{ limits: { diskBytes: Number.NaN } }],
    [{ profile: '__proto__' as 'strict' }],
  ])('refuses %o', (change) => {
    expect(() => recipeOf({ ...spec, ...change }, { digest: DIGEST }, info, policy)).toThrow(
      expect.objectContaining({ code: 'E_BAD_REQUEST' }),
    )
  })

  it.each([[{ name: '../x' }], [{ name: 'A' }], [{ owner: '' }], [{ env: { 'A=B': 'x' } }], [{ sleepAfterMs: -1 }]])(
    'refuses ownership %o',
    (change) => {
      expect(() => ownershipOf({ ...spec, ...change }, policy)).toThrow(
        expect.objectContaining({ code: 'E_BAD_REQUEST' }),
      )
    },
  )
})

describe('images', () => {
  const image = { Id: DIGEST, Os: 'linux', Architecture: 'amd64', Config: {}, RepoTags: ['a:1'], Size: 5 }

  it('SBX-23: one that declares volumes or is for another machine is refused', () => {
    expect(checkImage(engineJson(image), 'linux/x86_64')).toMatchObject({ digest: DIGEST, names: ['a:1'] })
    for (const change of [{ Config: { Volumes: { '/': {} } } }, { Architecture: 's390x' }, { Id: 'latest' }])
      expect(() => checkImage(engineJson({ ...image, ...change }), 'linux/amd64')).toThrow(
        expect.objectContaining({ code: 'E_IMAGE' }),
      )
  })

  it('names with anything odd are refused', () => {
    for (const name of ['-v', 'a b', '../x', 'a\n', '', 'x'.repeat(400)])
      expect(() => checkImageName(name)).toThrow(expect.objectContaining({ code: 'E_BAD_REQUEST' }))
    expect(checkImageName('localhost:5000/a/b:1')).toBe('localhost:5000/a/b:1')
  })

  it('tells saved images from root file systems', () => {
    expect(
      ['./', 'bin/', `${'a'.repeat(64)}/`, 'manifest.json'].map((name) => isSavedImage(Buffer.from(`${name}\0`))),
    ).toEqual([false, false, true, true])
  })
})

describe('evidence', () => {
  it('is found in both versions of cgroups', () => {
    const v1 = '9:pids:/docker/x\n5:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n0::/\n'
    expect(filesOf(v1)?.memory).toBe('/sys/fs/cgroup/memory/docker/x/memory.oom_control')
    expect(filesOf('0::/system.slice/docker-x.scope\n')?.pids).toBe(
      '/sys/fs/cgroup/system.slice/docker-x.scope/pids.events',
    )
    expect(filesOf('0::/\n')).toBeUndefined()
  })
})
