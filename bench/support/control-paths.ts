/** The ways that `control-stream.ts` compares. Each has an end that answers with what it is sent and an end that asks. */
import { connect, createServer, type Server } from 'node:net'
import { benchNode } from './mesh-pair.ts'
import { loadRival } from './rivals.ts'

export const BODY = new Uint8Array(256).fill(7)

/** What both ends are told before anything runs; JSON. */
export interface Given {
  readonly networkKey: string
  readonly protoFile: string
  readonly natsPort: number
}

/** Where the answering end is; JSON. */
export interface Where {
  readonly port?: number
  readonly peer?: { readonly id: string; readonly addresses: string[] }
}

export interface ControlPath {
  answer(given: Given): Promise<Where>
  ask(where: Where, given: Given): Promise<() => Promise<unknown>>
}

const mesh: ControlPath = {
  async answer({ networkKey }) {
    const net = await benchNode(Buffer.from(networkKey, 'hex'))
    net.handle('echo', async (body) => body)
    return { peer: { id: net.self, addresses: net.addresses() } }
  },
  async ask({ peer }, { networkKey }) {
    if (peer === undefined) throw new Error('no peer')
    const net = await benchNode(Buffer.from(networkKey, 'hex'))
    await net.connect(peer.id, peer.addresses)
    return () => net.request(peer.id, 'echo', BODY)
  },
}

const tcp: ControlPath = {
  async answer() {
    const server = createServer((socket) => {
      socket.setNoDelay(true)
      socket.on('data', (data) => socket.write(data))
      socket.on('error', () => undefined)
    })
    return { port: await listening(server) }
  },
  async ask({ port = 0 }) {
    const socket = connect(port, '127.0.0.1').setNoDelay(true)
    await new Promise((resolve) => socket.once('connect', resolve))
    const waiting: (() => void)[] = []
    let have = 0
    socket.on('data', (data) => {
      for (have += data.length; have >= BODY.length; have -= BODY.length) waiting.shift()?.()
    })
    return () =>
      new Promise<void>((resolve) => {
        waiting.push(resolve)
        socket.write(BODY)
      })
  },
}

export const PROTO =
  'syntax="proto3"; package bench; service Echo { rpc Chat (stream M) returns (stream M); } message M { bytes body = 1; }'

interface GrpcChat {
  on(event: 'data' | 'end' | 'error', listener: (message: unknown) => void): void
  write(message: unknown): void
  end(): void
}
interface Grpc {
  loadPackageDefinition(definition: unknown): {
    bench: { Echo: { new (address: string, credentials: unknown): { chat(): GrpcChat }; readonly service: unknown } }
  }
  readonly credentials: { createInsecure(): unknown }
  readonly ServerCredentials: { createInsecure(): unknown }
  Server: new () => {
    addService(service: unknown, handlers: object): void
    bindAsync(address: string, credentials: unknown, done: (error: Error | null, port: number) => void): void
  }
}

async function loadGrpc(protoFile: string) {
  const grpc = (await loadRival('@grpc/grpc-js')) as unknown as Grpc
  const loader = (await loadRival('@grpc/proto-loader')) as unknown as { loadSync(file: string): unknown }
  return { grpc, Echo: grpc.loadPackageDefinition(loader.loadSync(protoFile)).bench.Echo }
}

const grpcStream: ControlPath = {
  async answer({ protoFile }) {
    const { grpc, Echo } = await loadGrpc(protoFile)
    const server = new grpc.Server()
    server.addService(Echo.service, {
      chat: (stream: GrpcChat) => {
        stream.on('data', (message) => stream.write(message))
        stream.on('end', () => stream.end())
      },
    })
    const port = await new Promise<number>((resolve, reject) => {
      const bound = (error: Error | null, port: number) => (error === null ? resolve(port) : reject(error))
      server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), bound)
    })
    return { port }
  },
  async ask({ port }, { protoFile }) {
    const { grpc, Echo } = await loadGrpc(protoFile)
    const chat = new Echo(`127.0.0.1:${port}`, grpc.credentials.createInsecure()).chat()
    const waiting: (() => void)[] = []
    chat.on('data', () => waiting.shift()?.())
    chat.on('error', () => undefined)
    return () =>
      new Promise<void>((resolve) => {
        waiting.push(resolve)
        chat.write({ body: BODY })
      })
  },
}

interface Nats {
  connect(options: { port: number }): Promise<{
    subscribe(
      subject: string,
      options: { callback(error: unknown, message: { data: Uint8Array; respond(data: Uint8Array): void }): void },
    ): void
    request(subject: string, body: Uint8Array, options: object): Promise<unknown>
    flush(): Promise<void>
  }>
}

async function connectNats({ natsPort }: Given) {
  const nats = (await loadRival('@nats-io/transport-node')) as unknown as Nats
  return nats.connect({ port: natsPort })
}

const nats: ControlPath = {
  async answer(given) {
    const connection = await connectNats(given)
    connection.subscribe('echo', { callback: (_error, message) => message.respond(message.data) })
    await connection.flush()
    return {}
  },
  async ask(_where, given) {
    const connection = await connectNats(given)
    return () => connection.request('echo', BODY, { timeout: 5000 })
  },
}

/** By the names under which they are reported. */
export const CONTROL_PATHS = { mesh, 'raw TCP': tcp, 'gRPC two-way stream': grpcStream, NATS: nats } as const
export type PathName = keyof typeof CONTROL_PATHS

/** The port of a server that listens on loopback from now on. */
function listening(server: Server): Promise<number> {
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      resolve(typeof address === 'object' && address !== null ? address.port : 0)
    })
  })
}
