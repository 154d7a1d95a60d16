/** Opens the listeners of the local API. */
import { chmod, lstat, rm } from 'node:fs/promises'
import { connect, type Server } from 'node:net'
import { dirname } from 'node:path'
import { MeshError } from '../../protocol/errors.ts'
import { isLoopbackHost } from '../config/loopback.ts'
import { ensurePrivateFolder } from '../files/private-file.ts'

/** Whether nothing is at the path any more. */
export async function isGone(path: string): Promise<boolean> {
  return lstat(path).then(
    () => false,
    (error: unknown) => codeOf(error) === 'ENOENT',
  )
}

/** For an old daemon to accept a connection */
const PROBE_MS = 1_000

/**
 * Listens on a unix socket in a folder of ours alone (0700). What a dead daemon left is replaced; a living one is not, nor anything that is no socket.
 * @throws MeshError E_ALREADY_RUNNING, E_INSECURE_FILE, E_CONFIG
 */
export async function listenOnSocket(server: Server, path: string): Promise<void> {
  await ensurePrivateFolder(dirname(path))
  await removeStale(path)
  // Whoever comes between the check and this gets EADDRINUSE, not replaced
  try {
    await listening(server, () => server.listen({ path }))
  } catch (error) {
    throw codeOf(error) === 'EADDRINUSE'
      ? running(path)
      : new MeshError('E_CONFIG', `Cannot listen on the socket ${path}`, { cause: error })
  }
  // The folder keeps others out already
  await chmod(path, 0o600)
}

/**
 * Listens on a loopback address. @param port 0: any free one. @returns the port
 * @throws MeshError E_WIDE_BIND, E_CONFIG
 */
export async function listenOnLoopback(server: Server, host: string, port: number): Promise<number> {
  if (!isLoopbackHost(host))
    throw new MeshError('E_WIDE_BIND', `Cannot listen on "${host}": only loopback addresses are allowed`)
  try {
    await listening(server, () => server.listen({ host, port, ipv6Only: true }))
  } catch (error) {
    const taken = codeOf(error) === 'EADDRINUSE'
    throw new MeshError(
      'E_CONFIG',
      `Cannot listen on ${host} port ${port}: ${taken ? 'another program uses it' : 'the system refuses'}`,
      { hint: 'Set api.port to another, or to 0 for any', cause: error },
    )
  }
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : port
}

async function removeStale(path: string): Promise<void> {
  const found = await lstat(path).catch((error: unknown) => {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  })
  if (!found) return
  if (!found.isSocket())
    throw new MeshError('E_INSECURE_FILE', `Cannot listen on ${path}: something that is no socket is there`, {
      hint: 'Remove it',
    })
  if (await answers(path)) throw running(path)
  await rm(path, { force: true })
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path })
    const done = (alive: boolean): void => {
      socket.destroy()
      resolve(alive)
    }
    // A daemon that is stopped or overloaded does not accept in time, but it lives
    socket.setTimeout(PROBE_MS, () => done(true))
    socket.once('connect', () => done(true))
    socket.once('error', (error) => done(codeOf(error) !== 'ECONNREFUSED' && codeOf(error) !== 'ENOENT'))
  })
}

function listening(server: Server, start: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.once('listening', () => {
      server.off('error', reject)
      resolve()
    })
    start()
  })
}

function running(path: string): MeshError {
  return new MeshError('E_ALREADY_RUNNING', `Cannot start: a daemon answers on ${path} already`, {
    hint: '`manyhands status` shows it, `manyhands down` ends it; MANYHANDS_HOME chooses another node',
  })
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined
}
