import { describe, expect, it } from 'vitest'
import { resolvePaths, SOCKET_PATH_BYTES } from './paths.ts'

describe('resolvePaths()', () => {
  it('puts everything under MANYHANDS_HOME', () => {
    const paths = resolvePaths({ MANYHANDS_HOME: '/srv/node-a', XDG_DATA_HOME: '/x' }, 1000, '/home/u')
    for (const path of Object.values<string>({ ...paths })) expect(path.startsWith('/srv/node-a/')).toBe(true)
    expect(paths.socket).toBe('/srv/node-a/run/daemon.sock')
    expect(Object.isFrozen(paths)).toBe(true)
  })

  it('follows the XDG folders, and ignores relative ones', () => {
    const env = { XDG_CONFIG_HOME: '/c', XDG_DATA_HOME: 'relative', XDG_RUNTIME_DIR: '/run/user/1000' }
    const paths = resolvePaths(env, 1000, '/home/u')
    expect(paths.configFile).toBe('/c/manyhands/config.jsonc')
    expect(paths.identityFile).toBe('/home/u/.local/share/manyhands/identity.key')
    expect(paths.logFile).toBe('/home/u/.local/state/manyhands/daemon.log')
    expect(paths.socket).toBe('/run/user/1000/manyhands/daemon.sock')
  })

  it('falls back to a folder of the user where there is no runtime directory', () => {
    expect(resolvePaths({}, 1000, '/home/u').socket).toBe('/tmp/manyhands-1000/daemon.sock')
  })

  it('keeps the socket within the length of a unix socket path, one name for each node', () => {
    const long = (name: string) => resolvePaths({ MANYHANDS_HOME: `/srv/${'x'.repeat(120)}/${name}` }, 1000, '/home/u')
    expect(Buffer.byteLength(long('a').socket)).toBeLessThanOrEqual(SOCKET_PATH_BYTES)
    expect(long('a').socket).toBe(long('a').socket)
    expect(long('a').socket).not.toBe(long('b').socket)
    expect(long('a').socket.startsWith('/tmp/manyhands-1000/')).toBe(true)
  })

  it('keeps the mark of the journal outside the journal', () => {
    const paths = resolvePaths({ MANYHANDS_HOME: '/n' }, 0, '/root')
    expect(paths.journalMark.startsWith(paths.journalDir)).toBe(false)
  })
})
