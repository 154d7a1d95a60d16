import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { DEFAULT_LIMITS } from './limits.ts'
import { containerBody, type ProfileInput } from './profile.ts'

const valid: ProfileInput = {
  profile: 'strict',
  limits: DEFAULT_LIMITS,
  runtime: 'runc',
  grade: 'jailed',
  digest: `sha256:${'a'.repeat(64)}`,
  workspace: { kind: 'loop', workspace: '/data/s/d1/mnt/workspace', home: '/data/s/d1/mnt/home' },
  agent: { argv: ['/run/manyhands/agent', '0'.repeat(32)], env: {}, folder: '/data/agents/s', init: false },
  etc: '/data/etc',
  labels: { node: 'n', sandbox: 's', lease: 'l' },
  rootQuota: false,
}

const KEYS = Object.keys(containerBody(valid)).sort()
const HOST_KEYS = Object.keys(containerBody(valid).HostConfig).sort()

/** Everything a body may be: written apart from the code that makes it, so that a change of either is seen. */
function outsideProfile(body: ReturnType<typeof containerBody>): string[] {
  const host = body.HostConfig
  const wrong: string[] = []
  const want = (holds: boolean, what: string): void => void (holds || wrong.push(what))
  want(JSON.stringify(Object.keys(body).sort()) === JSON.stringify(KEYS), 'keys')
  want(JSON.stringify(Object.keys(host).sort()) === JSON.stringify(HOST_KEYS), 'keys of HostConfig')
  want(/^sha256:[0-9a-f]{64}$/.test(body.Image), 'Image')
  want(body.User === '10001:10001' || (body.User === '0:0' && !host.ReadonlyRootfs), 'User')
  want(body.Healthcheck.Test.join() === 'NONE' && body.Cmd.length === 0 && body.WorkingDir === '/workspace', 'start')
  want(Object.keys(body.Volumes).length === 0 && Object.keys(body.ExposedPorts).length === 0, 'Volumes')
  want(!body.Tty && body.OpenStdin && !body.StdinOnce, 'streams')
  want(!host.Privileged && !host.PublishAllPorts && !host.AutoRemove, 'flags')
  want(host.CapDrop.join() === 'ALL', 'CapDrop')
  want(['', 'SETUID,SETGID,CHOWN,DAC_OVERRIDE,FOWNER'].includes(host.CapAdd.join()), 'CapAdd')
  want(host.CapAdd.length === 0 || !host.ReadonlyRootfs, 'CapAdd in strict')
  want(host.SecurityOpt.join() === 'no-new-privileges', 'SecurityOpt')
  want(body.NetworkDisabled, 'network')
  want(host.NetworkMode === 'none' && host.IpcMode === 'private' && host.CgroupnsMode === 'private', 'namespaces')
  want(
    [host.PidMode, host.UTSMode, host.UsernsMode, host.CgroupParent].every((mode) => mode === ''),
    'modes',
  )
  const empty = [host.Binds, host.Devices, host.DeviceRequests, host.DeviceCgroupRules, host.GroupAdd]
  want(
    [...empty, host.ExtraHosts, host.Links, host.VolumesFrom].every(({ length }) => length === 0),
    'lists',
  )
  want(
    [host.Sysctls, host.PortBindings].every((map) => Object.keys(map).length === 0),
    'maps',
  )
  const targets = host.Mounts.map(({ Target, ReadOnly }) => `${Target}${ReadOnly ? ' ro' : ''}`)
  const etc = ['/etc/hosts ro', '/etc/hostname ro', '/etc/resolv.conf ro']
  const mounts = ['/workspace', '/home/agent', '/run/manyhands ro', '/run/mesh ro', ...etc]
  want(targets.every((target) => mounts.includes(target)) && new Set(targets).size === targets.length, 'Mounts')
  want(
    host.Mounts.every(({ Type, Source }) => Type === 'bind' && Source.startsWith('/')),
    'sources',
  )
  want(
    host.Mounts.every(({ Source }) => !Source.split('/').includes('..')),
    'sources',
  )
  want(
    Object.values(host.Tmpfs).every((options) => /^rw,nosuid,nodev,.*size=\d+,nr_inodes=\d+$/.test(options)),
    'Tmpfs',
  )
  want(host.Memory === host.MemorySwap && host.Memory >= 32 << 20 && host.PidsLimit >= 128, 'limits')
  want(typeof host.Init === 'boolean', 'Init')
  want(host.LogConfig.Type === 'none' && host.RestartPolicy.Name === 'no' && host.OomScoreAdj === 800, 'rest')
  want(
    Object.keys(host.StorageOpt).every((key) => key === 'size'),
    'StorageOpt',
  )
  return wrong
}

/** What a peer or a client would like to have. */
const SMUGGLED = {
  Privileged: true,
  privileged: true,
  Binds: ['/:/host'],
  Devices: [{ PathOnHost: '/dev/sda' }],
  PidMode: 'host',
  CapAdd: ['SYS_ADMIN'],
  SecurityOpt: ['seccomp=unconfined'],
  Runtime: 'evil',
  CgroupParent: '/',
  NetworkMode: 'container:x',
  UsernsMode: 'host',
  HostConfig: { Privileged: true },
}

describe('the profile of containers', () => {
  it('is what it is', () => {
    expect(outsideProfile(containerBody(valid))).toEqual([])
    const build = containerBody({ ...valid, profile: 'build', rootQuota: true })
    expect(outsideProfile(build)).toEqual([])
    expect(build.HostConfig.StorageOpt).toEqual({ size: String(DEFAULT_LIMITS.rootBytes) })
    expect(containerBody({ ...valid, workspace: { kind: 'tmpfs' } }).HostConfig.Tmpfs['/workspace']).toContain(
      'uid=10001',
    )
  })

  it('counts the threads of gVisor apart, and puts nothing above an agent that collects orphans', () => {
    const plain = containerBody(valid).HostConfig
    expect([plain.PidsLimit, plain.Init]).toEqual([DEFAULT_LIMITS.pids, false])
    const agent = { ...valid.agent, init: true }
    const other = containerBody({ ...valid, runtime: 'runsc', grade: 'gvisor', agent }).HostConfig
    expect(other.PidsLimit).toBeGreaterThan(2 * DEFAULT_LIMITS.pids)
    expect(other.Init).toBe(true)
  })

  it('SBX-24: gives nothing else, whatever comes in, through the prototype too', () => {
    const places = ['', 'limits', 'workspace', 'agent', 'labels'] as const
    const value = fc.oneof(
      fc.anything(),
      fc.string(),
      fc.integer(),
      fc.constantFrom('..', '/..', '/a/../b', 'host', '0:0'),
    )
    const field = fc.constantFrom(...Object.keys(valid), ...Object.keys(SMUGGLED), '__proto__', 'constructor', 'kind')
    const change = fc.tuple(fc.constantFrom(...places), field, value)
    let taken = 0
    fc.assert(
      fc.property(fc.array(change, { maxLength: 4 }), fc.boolean(), (changes, poison) => {
        const input: Record<string, unknown> = structuredClone(valid) as never
        for (const [place, key, next] of changes) {
          const target: unknown = place === '' ? input : input[place]
          if (typeof target !== 'object' || target === null) continue
          try {
            Object.defineProperty(target, key, { value: next, enumerable: true, configurable: true, writable: true })
          } catch {
            // frozen by an earlier change
          }
        }
        if (poison) for (const place of places) if (place !== '') reparent(input[place])
        if (poison) reparent(input)
        let body: ReturnType<typeof containerBody>
        try {
          body = containerBody(input as unknown as ProfileInput)
        } catch {
          return
        }
        taken++
        // As the engine gets it
        const sent: unknown = JSON.parse(JSON.stringify(body))
        expect(sent).toEqual(body)
        expect(outsideProfile(body)).toEqual([])
      }),
      { numRuns: 3_000 },
    )
    expect(taken).toBeGreaterThan(300)
  })

  it.each([
    ['an unknown profile', { profile: 'gpu' }],
    ['an inherited profile', { profile: 'constructor' }],
    ['an image by name', { digest: 'debian:12' }],
    ['a relative source', { agent: { ...valid.agent, folder: 'x' } }],
    ['a source with ..', { door: '/a/../etc' }],
    ['a source with a comma', { door: '/a,b' }],
    ['files of /etc from a relative folder', { etc: 'etc' }],
    ['a runtime that is a path', { runtime: '/bin/sh' }],
    ['no command', { agent: { ...valid.agent, argv: [] } }],
    ['limits out of range', { limits: { ...DEFAULT_LIMITS, pids: -1 } }],
    ['limits that are no numbers', { limits: { ...DEFAULT_LIMITS, memoryBytes: '1g' } }],
  ])('refuses %s', (_, change) => {
    const input = Object.assign({}, valid, change)
    expect(() => containerBody(input)).toThrow(expect.objectContaining({ code: 'E_BAD_REQUEST' }))
  })

  it('lets no variable of the agent take the place of its own', () => {
    const body = containerBody({ ...valid, agent: { ...valid.agent, env: { PATH: '/evil', TOKEN_A: 'x' } } })
    expect(body.Env.filter((line) => line.startsWith('PATH='))).toEqual([expect.not.stringContaining('evil')])
    expect(body.Env).toContain('TOKEN_A=x')
  })
})

function reparent(value: unknown): void {
  if (typeof value === 'object' && value !== null && Object.isExtensible(value)) Object.setPrototypeOf(value, SMUGGLED)
}
