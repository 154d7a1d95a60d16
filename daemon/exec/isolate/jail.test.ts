import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { hostEntry } from './host-entry.ts'
import { jailCommand, type JailTools } from './jail.ts'

const entry = {
  script: '/opt/mh/dist/isolate-host.js',
  reads: ['/opt/mh/dist/isolate-host.js', '/opt/mh/node_modules/isolated-vm'],
  root: '/opt/mh',
}
const program = { node: '/opt/node', entry, flags: ['--permission'], args: ['4'] }
const limits = { addressSpaceBytes: 2048 * 1024, openFiles: 64 }
const tools = (mechanism: JailTools['mechanism']): JailTools => ({
  mechanism,
  paths: { bwrap: '/usr/bin/bwrap', unshare: '/usr/bin/unshare', setpriv: '/usr/bin/setpriv' },
  libraries: ['/lib/libc.so.6'],
  seccomp: Buffer.from('filter'),
})

describe('jailCommand', () => {
  it('shows a bubblewrap guest nothing but the runtime and the host script, under other names', () => {
    const { args, filter } = jailCommand(tools('bwrap'), program, limits)
    const line = args.join(' ')
    for (const wanted of [
      '--unshare-all',
      '--die-with-parent',
      '--new-session',
      '--clearenv',
      '--cap-drop ALL',
      '--uid 65534',
      '--seccomp 4',
    ]) {
      expect(line).toContain(wanted)
    }
    const binds = args.flatMap((arg, i) => (arg === '--ro-bind' ? [`${args[i + 1]} ${args[i + 2]}`] : []))
    expect(binds).toEqual([
      '/opt/node /app.node',
      '/lib/libc.so.6 /lib/libc.so.6',
      '/opt/mh/dist/isolate-host.js /app/dist/isolate-host.js',
      '/opt/mh/node_modules/isolated-vm /app/node_modules/isolated-vm',
    ])
    expect(line).not.toMatch(/--bind |--dev|--proc|--share/)
    expect(args.slice(args.indexOf('--') + 1)).toEqual([
      '/app.node',
      '--permission',
      '--allow-fs-read=/app',
      '--allow-fs-read=/etc/alpine-release',
      '/app/dist/isolate-host.js',
      '4',
    ])
    expect(filter).toEqual(Buffer.from('filter'))
  })

  it('limits descriptors, address space and cores in every mechanism', () => {
    for (const mechanism of ['bwrap', 'unshare', 'none'] as const) {
      const { file, args } = jailCommand(tools(mechanism), program, limits)
      expect(file).toBe('/bin/sh')
      expect(args[1]).toContain('ulimit -c 0')
      expect(args.slice(3, 5)).toEqual(['64', '2048'])
    }
  })

  it('passes no word of a path through a shell', () => {
    const odd = { ...program, entry: { ...entry, script: '/opt/mh/$(touch x)/;h.js' } }
    for (const mechanism of ['bwrap', 'unshare', 'none'] as const) {
      const { args } = jailCommand(tools(mechanism), odd, limits)
      const scripts = args.filter((_, i) => args[i - 1] === '-c')
      expect(scripts.join()).not.toContain('touch')
    }
  })
})

describe('hostEntry', () => {
  const folder = mkdtempSync(join(tmpdir(), 'manyhands-entry-'))
  afterAll(() => rmSync(folder, { recursive: true }))

  it('finds the sources beside itself', () => {
    const found = hostEntry()
    expect(found.script).toMatch(/daemon\/exec\/isolate\/host\.ts$/)
    expect(found.reads.every((path) => path.startsWith(`${found.root}/`))).toBe(true)
  })

  it('finds the bundle beside the bundled daemon', () => {
    const dist = join(folder, 'dist')
    for (const name of ['isolated-vm', 'node-gyp-build']) {
      mkdirSync(join(folder, 'node_modules', name), { recursive: true })
      writeFileSync(join(folder, 'node_modules', name, 'package.json'), '{}')
    }
    mkdirSync(dist)
    writeFileSync(join(dist, 'isolate-host.js'), '')
    const found = hostEntry(join(dist, 'daemon.js'))
    expect(found).toMatchObject({ script: join(dist, 'isolate-host.js'), root: folder })
    expect(found.reads).toContain(join(folder, 'node_modules', 'isolated-vm'))
  })
})
