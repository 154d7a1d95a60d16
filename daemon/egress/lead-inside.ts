/** Gets a listening socket inside a container's network namespace: see `proxy/listen-inside.ts`. */
import { spawn } from 'node:child_process'
import { existsSync, readlinkSync } from 'node:fs'
import { Server } from 'node:net'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { MeshError } from '../../protocol/errors.ts'
import { sealedStdio } from '../processes/sealed-stdio.ts'

const WITHIN_MS = 10_000

/** The script from its source, or bundled beside the daemon. */
export function egressScript(name: 'main' | 'listen-inside'): string {
  const folder = dirname(fileURLToPath(import.meta.url))
  const bundled = join(folder, name === 'main' ? 'egress-proxy.js' : 'egress-listen-inside.js')
  return existsSync(bundled) ? bundled : join(folder, 'proxy', `${name}.ts`)
}

/** Names the network a process is in, for as long as that lives; undefined when there is no such process or it is not ours to see. */
export function networkOf(pid: number | 'self'): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`)
  } catch {
    return undefined
  }
}

/** @throws MeshError E_EGRESS when the namespace cannot be entered, is the host's own, or the port is taken */
export function listenInside(pid: number, port: number): Promise<Server> {
  if (process.geteuid?.() !== 0) return Promise.reject(failed('joining the network of a container needs root'))
  // A number may have gone to another process since: none of the host's own is a guest
  if (networkOf(pid) === networkOf('self')) return Promise.reject(failed('it has no network of its own'))
  return new Promise((resolve, reject) => {
    const args = ['--target', String(pid), '--net', '--', process.execPath, egressScript('listen-inside'), String(port)]
    const child = spawn('nsenter', args, {
      stdio: sealedStdio(['ignore', 'ignore', 'ignore', 'ipc']),
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
      cwd: '/',
    })
    const timer = setTimeout(() => child.kill('SIGKILL'), WITHIN_MS)
    let result: Server | undefined
    let why = 'its process is gone, or its network cannot be joined'
    child.on('message', (message: unknown, handle: unknown) => {
      if (handle instanceof Server) result = handle
      else if (typeof message === 'object' && message !== null && 'error' in message)
        why = `port ${port} inside cannot be listened on (${String(message.error).slice(0, 32)})`
    })
    child.once('error', () => {
      why = 'nsenter is not installed'
    })
    child.once('close', () => {
      clearTimeout(timer)
      if (result === undefined) reject(failed(why))
      else resolve(result)
    })
  })
}

const failed = (why: string): MeshError => new MeshError('E_EGRESS', `Cannot lead the door into the guest: ${why}`)
