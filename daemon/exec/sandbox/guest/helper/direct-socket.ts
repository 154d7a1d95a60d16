import { randomBytes } from 'node:crypto'
import { chmod, rm } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { writeParts } from '../../engine/attached-stream.ts'
import type { GuestTransport } from '../guest-connection.ts'
import type { Link } from './link.ts'
import { TO_GUEST } from './wire.ts'

/** How long the helper may take to connect, milliseconds; where it cannot, it says so at once. */
const CONNECT_MS = 2000
/** Longest path of a unix socket on Linux, with its final zero. */
const MAX_SOCKET_PATH = 108

/** A folder of this host that the guest sees. */
export interface SharedFolder {
  readonly host: string
  readonly guest: string
}

/**
 * Asks the helper to come over a unix socket, which only exists until it came or not. Whoever connects must still show the token; a guest that takes
 * the helper's place only speaks for itself.
 * @returns undefined where that cannot be: no such sockets in this runtime, the folder's path is too long; then all stays as it was. "late" when it did not
 * come in time: it may have left the standard streams all the same, so the conversation begins anew there
 */
export async function moveToSocket(
  link: Link,
  standby: GuestTransport,
  folder: SharedFolder,
): Promise<GuestTransport | 'late' | undefined> {
  const name = `${randomBytes(4).toString('hex')}.sock`
  const path = join(folder.host, name)
  if (Buffer.byteLength(path) >= MAX_SOCKET_PATH) return undefined
  const server = createServer()
  try {
    await listen(server, path)
    const socket = await connected(server, link, join(folder.guest, name))
    if (socket === undefined) return undefined
    link.leave()
    return socket === 'late' ? socket : socketTransport(socket, standby)
  } catch {
    return undefined
  } finally {
    server.close()
    await rm(path, { force: true })
  }
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    // the guest's user is another; the folder's own rights keep other users of this host away
    server.listen(path, () => resolve(chmod(path, 0o666)))
  })
}

function connected(server: Server, link: Link, guestPath: string): Promise<Socket | 'late' | undefined> {
  return new Promise((resolve) => {
    let over = false
    const done = (result: Socket | 'late' | undefined): void => {
      clearTimeout(timer)
      // whoever comes too late finds nobody
      if (over && typeof result === 'object') result.destroy()
      over = true
      resolve(result)
    }
    const timer = setTimeout(() => done('late'), CONNECT_MS)
    server.once('connection', done)
    server.maxConnections = 1
    link.open(TO_GUEST.move, 0, Buffer.from(`${guestPath}\0`), { onEnd: () => done(undefined) })
  })
}

/** Bytes over the socket; the standard streams are kept, because their end is the container's. */
function socketTransport(socket: Socket, standby: GuestTransport): GuestTransport {
  let ended: { readonly error: Error | undefined } | undefined
  let onEnd = (_error?: Error): void => {}
  const end = (error?: Error): void => {
    if (ended) return
    ended = { error }
    onEnd(error)
  }
  socket.on('error', end)
  socket.on('close', () => end())
  standby.onEnd(end)
  standby.onData(() => {})
  return {
    write: (...parts) => (socket.destroyed ? true : writeParts(socket, parts)),
    onDrain: (listener) => void socket.on('drain', listener),
    onData: (listener) => void socket.on('data', (bytes: Buffer) => listener(bytes, 1)),
    onEnd(listener) {
      onEnd = listener
      // it may have ended before anyone listened
      if (ended) queueMicrotask(() => listener(ended?.error))
    },
    pause: () => void socket.pause(),
    resume: () => void socket.resume(),
    close() {
      socket.destroy()
      standby.close()
    },
  }
}
