import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { MeshError } from '../../protocol/errors.ts'
import { CONFIG_KEYS } from './keys.ts'
import { loadConfig } from './load.ts'

const folder = mkdtempSync(join(tmpdir(), 'manyhands-config-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

let number = 0
function load(file: string, env: Record<string, string> = {}, flags: Record<string, string> = {}) {
  const path = join(folder, `c${number++}.jsonc`)
  writeFileSync(path, file)
  return loadConfig({ file: path, env, flags })
}
function refused(file: string, env: Record<string, string> = {}, flags: Record<string, string> = {}): MeshError {
  try {
    load(file, env, flags)
  } catch (error) {
    if (error instanceof MeshError) return error
  }
  throw new Error('It was accepted')
}

describe('loadConfig()', () => {
  it('works without a file', () => {
    const { config, origin } = loadConfig({ file: join(folder, 'none.jsonc'), env: {} })
    expect(config.lease).toEqual({ durationMs: 10_000, renewMs: 3_000, marginMs: 1_000 })
    expect(config.executor.defaults).toMatchObject({
      wallMs: 30_000,
      cpuMs: 10_000,
      memoryBytes: 64 << 20,
      hostCalls: 10_000,
    })
    expect(new Set(Object.values(origin))).toEqual(new Set(['default']))
    expect(Object.keys(origin)).toEqual(CONFIG_KEYS.map(({ key }) => key))
  })

  it('demands a file that was asked for by name', () => {
    expect(() => loadConfig({ file: join(folder, 'none.jsonc'), fileRequired: true, env: {} })).toThrow(/there is none/)
  })

  it('takes flag over environment over file over default, and remembers where from', () => {
    const file = '{ "name": "file", "drainMs": 1, "api": { "port": 1000 }, "net": { "connections": 40 } }'
    const { config, origin } = load(file, { MANYHANDS_NAME: 'env', MANYHANDS_API_PORT: '2000' }, { 'api.port': '3000' })
    expect([config.name, config.api.port, config.drainMs, config.net.connections]).toEqual(['env', 3000, 1, 40])
    expect([origin['name'], origin['api.port'], origin['drainMs'], origin['log.level']]).toEqual([
      'env',
      'flag',
      'file',
      'default',
    ])
  })

  it('reads comments, trailing commas, lists and truth values', () => {
    const { config } = load('{ // a comment\n "labels": ["gpu",], "discovery": { "mdns": false, }, }', {
      MANYHANDS_DISCOVERY_BOOTSTRAP: '/a, /b',
      MANYHANDS_DISCOVERY_DHT: '0',
    })
    expect(config.labels).toEqual(['gpu'])
    expect(config.discovery).toMatchObject({ mdns: false, dht: false, bootstrap: ['/a', '/b'] })
  })

  it('is frozen to the bottom', () => {
    const { config } = load('{}')
    for (const part of [config, config.api, config.executor.defaults, config.net.listen])
      expect(Object.isFrozen(part)).toBe(true)
  })

  it.each([
    ['{\n\n  "api": {\n    "prot": 1 } }', /c\d+\.jsonc:4: api\.prot: unknown key; did you mean "api\.port"\?/],
    ['{ "apy": {} }', /:1: apy: unknown key; did you mean "api"\?/],
    ['{\n "api": { "port": 70000 } }', /:2: api\.port: .*65535/],
    ['{ "api": 5 }', /:1: api: an object is wanted/],
    ['{ "labels": {"a": 1} }', /:1: labels: .*array/],
    ['{ "name": "a", "name": "b" }', /:1: name: given twice/],
    ['{ "name": ', /:1: not valid JSON/],
    ['[]', /:1: an object is wanted/],
    ['{ "__proto__": { "name": "x" } }', /__proto__: unknown key/],
    [
      '{ "egress": { "caFiles": ["/a.pem", "b.pem"] } }',
      /egress\.caFiles: absolute paths are wanted: received "b\.pem"/,
    ],
    ['{ "lease": { "renewMs": 9000 } }', /lease\.renewMs: at most half/],
    [
      '{ "executor": { "defaults": { "memoryBytes": 1073741824 } } }',
      /executor\.defaults\.memoryBytes: at most executor\.ceilings/,
    ],
  ])('refuses %j', (file, message) => {
    const error = refused(file)
    expect(error.code).toBe('E_CONFIG')
    expect(error.message).toMatch(message)
  })

  it('refuses unknown variables and flags, and values that do not fit, by name', () => {
    expect(refused('{}', { MANYHANDS_API_PROT: '1' }).message).toContain(
      'unknown variable; did you mean "MANYHANDS_API_PORT"?',
    )
    expect(refused('{}', { MANYHANDS_API_PORT: 'eighty' }).message).toContain(
      'environment MANYHANDS_API_PORT: api.port:',
    )
    expect(refused('{}', {}, { 'api.port': '-5' }).message).toContain('flag api.port: api.port:')
    expect(refused('{}', {}, { port: '5' }).message).toContain('flag port: unknown key')
  })

  it('leaves variables that are no configuration alone', () => {
    expect(() => load('{}', { MANYHANDS_HOME: '/x', MANYHANDS_TOKEN: 't', PATH: '/bin' })).not.toThrow()
  })

  it.each(['0.0.0.0', '::', '192.168.1.5', 'example.test', '::ffff:127.0.0.1', '127.0.0.1.example.test', ''])(
    'API-08 refuses to bind the API to %j',
    (host) => {
      expect(refused(JSON.stringify({ api: { host } })).code).toBe('E_WIDE_BIND')
    },
  )

  it.each(['127.0.0.1', '127.9.9.9', '::1', 'localhost'])('binds the API to %s', (host) => {
    expect(load(JSON.stringify({ api: { host } })).config.api.host).toBe(host)
  })
})
