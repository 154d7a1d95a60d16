/** The SDK for browsers: everything but sessions, host functions, streams of sandboxes, files and receipts' verification, which need Node. */
import { Client } from './client.ts'
import { noDuplex } from './duplex.ts'
import { ManyhandsError } from './errors.ts'
import { fetchTransport } from './fetch-transport.ts'
import { Mesh } from './mesh.ts'
import { noPort } from './open-port.ts'

export * from './public.ts'

export interface ConnectOptions {
  /** Where the daemon listens on loopback, e.g. "http://127.0.0.1:4280" */
  readonly url: string | URL
  /** Token of the local API */
  readonly token: string
  /** Ends the attempt to connect. @default none */
  readonly signal?: AbortSignal | undefined
}

/** Connects once the daemon has proven that it holds the token. @throws ManyhandsError */
export async function connect(options: ConnectOptions): Promise<Mesh> {
  if (!URL.canParse(String(options.url))) throw new ManyhandsError('E_BAD_REQUEST', 'Cannot connect: that is not a URL')
  const client = new Client(fetchTransport(new URL(options.url), options.token))
  const load = () => Promise.reject(new ManyhandsError('E_BAD_REQUEST', 'Cannot read a file: a browser has none'))
  const mesh = new Mesh({ client, duplex: noDuplex, load, openPort: noPort, closeDuplex: () => undefined })
  try {
    await mesh.status(options)
    return mesh
  } catch (error) {
    await mesh.close()
    throw error
  }
}
