import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Where rivals are kept between runs; never in the project's own dependencies. */
const RIVALS = join(tmpdir(), 'manyhands-bench-rivals')
const VERSIONS = { '@grpc/grpc-js': '^1.13.0', '@grpc/proto-loader': '^0.8.0', '@nats-io/transport-node': '^3.1.0' }

/** Installs rival packages once. False: they cannot be had here, and the bench says so. */
export function installRivals(): boolean {
  if (existsSync(join(RIVALS, 'node_modules', '@grpc', 'grpc-js'))) return true
  mkdirSync(RIVALS, { recursive: true })
  writeFileSync(join(RIVALS, 'package.json'), JSON.stringify({ name: 'rivals', private: true, dependencies: VERSIONS }))
  try {
    execFileSync('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts'], { cwd: RIVALS, stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** Loads an installed rival package; the caller knows its shape. */
export async function loadRival(name: string): Promise<Record<string, unknown>> {
  const require = createRequire(join(RIVALS, 'package.json'))
  return (await import(require.resolve(name))) as Record<string, unknown>
}

/** Path of a NATS server: the one installed, else one unpacked from the distribution's package. Undefined: none. */
export function findNatsServer(): string | undefined {
  const unpacked = join(RIVALS, 'nats', 'usr', 'sbin', 'nats-server')
  const found = ['/usr/sbin/nats-server', '/usr/local/bin/nats-server', unpacked].find(existsSync)
  if (found !== undefined) return found
  try {
    mkdirSync(join(RIVALS, 'nats'), { recursive: true })
    execFileSync('apt-get', ['download', 'nats-server'], { cwd: RIVALS, stdio: 'ignore' })
    const deb = readdirSync(RIVALS).find((name) => name.startsWith('nats-server') && name.endsWith('.deb'))
    if (deb !== undefined) execFileSync('dpkg', ['-x', deb, 'nats'], { cwd: RIVALS, stdio: 'ignore' })
  } catch {
    return undefined
  }
  return existsSync(unpacked) ? unpacked : undefined
}
