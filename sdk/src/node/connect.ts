/**
 * Finds the local daemon and connects to it. Options come before the environment (MANYHANDS_SOCKET, MANYHANDS_URL, MANYHANDS_TOKEN,
 * MANYHANDS_TOKEN_FILE), and both before the folders of the node.
 */
import { Client } from '../client.ts'
import { ManyhandsError } from '../errors.ts'
import { Mesh } from '../mesh.ts'
import { unlessAborted } from '../wait.ts'
import { DuplexConnection } from './duplex-connection.ts'
import { httpTransport, type NodeTransport } from './http-transport.ts'
import type { Endpoint } from './lane.ts'
import { loadProgram } from './load-program.ts'
import { openPort } from './open-port.ts'
import { daemonPaths, runningSocket } from './paths.ts'
import { readToken } from './token.ts'

export interface ConnectOptions {
  /** Folder of the node, in place of MANYHANDS_HOME. @default MANYHANDS_HOME, else the XDG folders of this user */
  readonly home?: string | undefined
  /** Path of the daemon's unix socket. @default where the daemon of the home says it is */
  readonly socket?: string | undefined
  /** Where the daemon listens on loopback, e.g. "http://127.0.0.1:4280", in place of the socket. @default none */
  readonly url?: string | URL | undefined
  /** @default read from the token file of the home */
  readonly token?: string | undefined
  /** Ends the attempt to connect. @default none: a daemon that proves nothing for 10 seconds, or whose connections break for 15, ends it */
  readonly signal?: AbortSignal | undefined
}

/**
 * Connects to the local daemon once it has proven that it holds the token; before that, it gets nothing.
 * @throws ManyhandsError E_NOT_RUNNING, E_UNPROVEN, E_INSECURE_FILE, E_FORBIDDEN, E_UNAUTHENTICATED, E_TIMEOUT, E_PROTOCOL; or the signal's reason
 */
export async function connect(options: ConnectOptions = {}): Promise<Mesh> {
  const paths = daemonPaths(options.home)
  // A folder named by the caller is not overruled by the environment
  const env: NodeJS.ProcessEnv = options.home === undefined ? process.env : {}
  // One that is empty is not set
  const { MANYHANDS_URL, MANYHANDS_SOCKET, MANYHANDS_TOKEN, MANYHANDS_TOKEN_FILE } = env
  const url = options.url ?? (options.socket === undefined ? MANYHANDS_URL : undefined)
  const socketPath = options.socket ?? (MANYHANDS_SOCKET || (await runningSocket(paths)))
  const endpoint = url ? urlEndpoint(url) : { socketPath }
  const token = options.token ?? (MANYHANDS_TOKEN || (await readToken(MANYHANDS_TOKEN_FILE || paths.tokenFile)))
  const transport = httpTransport(endpoint, token)
  const client = new Client(transport)
  const duplex = keptDuplex(transport, client.signal)
  const mesh = new Mesh({ client, duplex: duplex.get, load: loadProgram, openPort, closeDuplex: duplex.close })
  try {
    await mesh.status(options.signal ? { signal: options.signal } : {})
    return mesh
  } catch (error) {
    await mesh.close()
    throw error
  }
}

/** Only plain HTTP to this host: the token must not travel, and a daemon that is not here is reached through the one that is. */
function urlEndpoint(text: string | URL): Endpoint {
  if (!URL.canParse(String(text))) throw new ManyhandsError('E_BAD_REQUEST', 'Cannot connect: that is not a URL')
  const url = new URL(text)
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1')
  const loopback = host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host)
  if (url.protocol === 'http:' && loopback) return { host, port: Number(url.port || 80) }
  throw new ManyhandsError(
    'E_BAD_REQUEST',
    `Cannot connect to ${url.origin}: the local API is http on a loopback address`,
    {
      hint: 'Run a daemon on this host; it reaches the others',
    },
  )
}

/** One connection for all sessions and host functions, made when it is first needed and again when it was lost. */
function keptDuplex(transport: NodeTransport, closing: AbortSignal) {
  let current: Promise<DuplexConnection> | undefined
  let open: DuplexConnection | undefined
  const make = async (): Promise<DuplexConnection> => {
    try {
      open = await DuplexConnection.connect(transport, closing)
      if (closing.aborted) open.close()
      return open
    } finally {
      current = undefined
    }
  }
  const get = async (signal?: AbortSignal): Promise<DuplexConnection> => {
    signal?.throwIfAborted()
    if (open && !open.lost) return open
    // Shared, so it does not end with the signal of the first who asked
    current ??= make()
    return unlessAborted(current, signal)
  }
  return { get, close: () => open?.close() }
}
