import { describe, expect, it } from 'vitest'
import { MeshError } from '../../../../protocol/errors.ts'
import { frameSplitter } from './attached-stream.ts'
import { engineCandidates } from './candidates.ts'
import { engineError } from './engine-error.ts'
import { engineJson } from './engine-json.ts'
import { type EngineAnswers, isBelow, readEngineInfo, runtimeFor } from './read-info.ts'
import { readLines } from './read-lines.ts'

describe('where an engine is looked for', () => {
  const at = (configured: string, env: Record<string, string> = {}, uid = 0) =>
    engineCandidates({ configured, env, uid, home: '/home/me' })

  it('takes what is named and nothing else', () => {
    expect(at('none', { DOCKER_HOST: 'unix:///a' })).toEqual([])
    expect(at('unix:///b', { DOCKER_HOST: 'unix:///a' })).toEqual([
      { endpoint: { kind: 'unix', path: '/b' }, found: 'config' },
    ])
    expect(at('', { DOCKER_HOST: 'tcp://engine:2376', DOCKER_TLS_VERIFY: '1', DOCKER_CERT_PATH: '/c' })).toEqual([
      { endpoint: { kind: 'tcp', host: 'engine', port: 2376, tls: true, certs: '/c' }, found: 'environment' },
    ])
  })

  it('else the usual sockets, those of the user too', () => {
    const paths = at('', { XDG_RUNTIME_DIR: '/run/user/7' }, 7).map(({ endpoint }) =>
      endpoint.kind === 'unix' ? endpoint.path : '',
    )
    expect(paths).toContain('/run/user/7/podman/podman.sock')
    expect(paths[0]).toBe('/run/docker.sock')
  })

  it.each(['docker.sock', 'ssh://host', 'tcp://host', 'unix://', 'tcp://host:99999'])('refuses %s', (text) => {
    expect(() => at(text)).toThrow(expect.objectContaining({ code: 'E_CONFIG' }))
  })
})

const ANSWERS: EngineAnswers = {
  version: '29.5.1',
  apiVersion: '1.52',
  os: 'linux',
  arch: 'amd64',
  runtimes: ['io.containerd.runc.v2', 'runc', 'runsc', 'kata', 'nvidia'],
  runcVersion: '1.3.3',
  storageDriver: 'overlay2',
  driverStatus: [['Backing Filesystem', 'extfs']],
  securityOptions: ['name=seccomp,profile=builtin'],
  cgroupVersion: '2',
}
const info = (change: Partial<EngineAnswers> = {}, leastGrade: 'jailed' | 'gvisor' = 'jailed') =>
  readEngineInfo(
    { ...ANSWERS, ...change },
    { endpoint: 'unix:///x', found: 'config', local: true, loopWorkspaces: true, leastGrade },
  )

describe('grades', () => {
  it('come from the runtimes, strongest first', () => {
    expect(info().runtimes.map(({ name }) => name)).toEqual(['kata', 'runsc', 'runc', 'io.containerd.runc.v2'])
    expect(info().warnings).toEqual([])
  })

  it('SBX-25: a demanded grade is met or refused, never gone below', () => {
    expect(runtimeFor(info(), 'gvisor')).toEqual({ name: 'runsc', grade: 'gvisor' })
    expect(runtimeFor(info(), 'jailed')?.name).toBe('runc')
    expect(runtimeFor(info({ runtimes: ['runc', 'kata'] }), 'gvisor')?.name).toBe('kata')
    expect(runtimeFor(info({ runtimes: ['runc'] }), 'gvisor')).toBeUndefined()
    expect(runtimeFor(info({ runtimes: ['runc', 'runsc'] }), 'microvm')).toBeUndefined()
    expect(runtimeFor(info({}, 'gvisor'), undefined)?.grade).toBe('microvm')
    expect(info({ runtimes: ['runc'] }, 'gvisor').runtimes).toEqual([])
  })

  it('a runtime that hangs is taken where its grade is demanded, or where there is no other', () => {
    const hanging = { ...info(), hanging: ['kata', 'runsc'] }
    expect(runtimeFor(hanging, undefined)?.name).toBe('runc')
    expect(runtimeFor(hanging, 'gvisor')?.name).toBe('runsc')
    expect(runtimeFor({ ...info({ runtimes: ['runsc'] }), hanging: ['runsc'] }, undefined)?.name).toBe('runsc')
  })

  it('plain containers without a seccomp filter are not offered', () => {
    expect(info({ securityOptions: ['name=seccomp,profile=unconfined'] }).runtimes.map(({ name }) => name)).toEqual([
      'kata',
      'runsc',
    ])
  })

  it('old versions are said', () => {
    expect(info({ version: '20.10.24+dfsg1', runcVersion: '1.1.5+ds1' }).warnings).toHaveLength(2)
    expect([isBelow('1.2.8', '1.2.8'), isBelow('1.10.0', '1.2.8'), isBelow('1.2.8-rc1', '1.2.9')]).toEqual([
      false,
      false,
      true,
    ])
  })
})

describe('what an engine says', () => {
  it('is read whatever its shape', () => {
    const json = engineJson({ a: 1, b: null, list: 'no', text: { deep: true } })
    expect([
      json.text('a'),
      json.text('b'),
      json.items('list'),
      json.at('b').at('c').text('d'),
      json.flag('text'),
    ]).toEqual(['1', '', [], '', false])
    expect(engineJson(JSON.parse('{"__proto__":{"x":"y"}}')).at('x').text()).toBe('')
  })

  it('comes as lines of bounded length', async () => {
    const lines: unknown[] = []
    const parts = async function* () {
      yield Buffer.from('{"a":"\u00e4')
      yield Buffer.from('"}\n\n{"b":2}')
    }
    for await (const line of readLines(parts())) lines.push(line)
    expect(lines).toEqual([{ a: 'ä' }, { b: 2 }])
    const endless = async function* () {
      for (;;) yield 'x'.repeat(100_000)
    }
    await expect(readLines(endless()).next()).rejects.toMatchObject({ code: 'E_ENGINE' })
  })

  it('becomes errors that name no path of the host', () => {
    const inner = Object.assign(new Error('open /var/lib/docker/secret'), { statusCode: 500 })
    const error = engineError('start the sandbox', inner)
    expect(error).toBeInstanceOf(MeshError)
    expect([error.code, error.message.includes('/var')]).toEqual(['E_ENGINE', false])
    expect(engineError('x', Object.assign(new Error(), { code: 'ECONNREFUSED' })).code).toBe('E_ENGINE_LOST')
    expect(engineError('x', Object.assign(new Error(), { statusCode: 404 })).code).toBe('E_NOT_FOUND')
  })

  it('is taken apart into its streams however it is cut', () => {
    const frame = (fd: number, text: string): Buffer => {
      const head = Buffer.alloc(8)
      head[0] = fd
      head.writeUInt32BE(text.length, 4)
      return Buffer.concat([head, Buffer.from(text)])
    }
    const all = Buffer.concat([frame(1, 'hello'), frame(2, 'oh'), frame(1, ''), frame(1, ' there')])
    for (const size of [1, 3, 8, 1000]) {
      const seen = ['', '', '']
      const split = frameSplitter((bytes, fd) => {
        seen[fd] += Buffer.from(bytes).toString()
      })
      for (let at = 0; at < all.length; at += size) expect(split(all.subarray(at, at + size))).toBe(true)
      expect(seen).toEqual(['', 'hello there', 'oh'])
    }
    expect(frameSplitter(() => {})(Buffer.from('HTTP/1.1 500'))).toBe(false)
  })
})
