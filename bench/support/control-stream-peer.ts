/** The answering process of `control-stream.ts`: echoes 256 bytes over every path that is compared. */
import { createServer } from 'node:net'
import { benchNode } from './mesh-pair.ts'
import { loadRival } from './rivals.ts'

export interface PeerReady {
  readonly mesh: { readonly id: string; readonly addresses: string[] }
  readonly tcp: number
  readonly grpc: number | undefined
}

interface GrpcStream {
  on(event: 'data' | 'end', listener: (message: unknown) => void): void
  write(message: unknown): void
  end(): void
}

interface Grpc {
  loadPackageDefinition(definition: unknown): { bench: { Echo: { service: unknown } } }
  Server: new () => {
    addService(service: unknown, handlers: object): void
    bindAsync(address: string, credentials: unknown, done: (error: Error | null, port: number) => void): void
  }
  ServerCredentials: { createInsecure(): unknown }
}

async function main(): Promise<void> {
  const [protoFile, networkKey, withRivals] = process.argv.slice(2)
  const net = await benchNode(Buffer.from(networkKey ?? '', 'hex'))
  net.handle('echo', async (body) => body)
  const grpc = withRivals === 'rivals' ? await serveGrpc(protoFile ?? '') : undefined
  const ready: PeerReady = { mesh: { id: net.self, addresses: net.addresses() }, tcp: await serveTcp(), grpc }
  process.send?.(ready)
  process.on('message', (natsPort) => void answerNats(Number(natsPort)))
  process.on('disconnect', () => process.exit())
}

function serveTcp(): Promise<number> {
  const server = createServer((socket) => {
    socket.setNoDelay(true)
    socket.on('data', (data) => socket.write(data))
    socket.on('error', () => undefined)
  })
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      resolve(typeof address === 'object' && address !== null ? address.port : 0)
    })
  })
}

async function serveGrpc(protoFile: string): Promise<number> {
  const grpc = (await loadRival('@grpc/grpc-js')) as unknown as Grpc
  const loader = (await loadRival('@grpc/proto-loader')) as unknown as { loadSync(file: string): unknown }
  const server = new grpc.Server()
  server.addService(grpc.loadPackageDefinition(loader.loadSync(protoFile)).bench.Echo.service, {
    chat: (stream: GrpcStream) => {
      stream.on('data', (message) => stream.write(message))
      stream.on('end', () => stream.end())
    },
  })
  return new Promise((resolve, reject) => {
    const bound = (error: Error | null, port: number) => (error === null ? resolve(port) : reject(error))
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), bound)
  })
}

interface Nats {
  connect(options: { port: number }): Promise<{
    subscribe(
      subject: string,
      options: { callback(error: unknown, message: { data: Uint8Array; respond(data: Uint8Array): void }): void },
    ): void
    flush(): Promise<void>
  }>
}

async function answerNats(port: number): Promise<void> {
  const nats = (await loadRival('@nats-io/transport-node')) as unknown as Nats
  const connection = await nats.connect({ port })
  connection.subscribe('echo', { callback: (_error, message) => message.respond(message.data) })
  await connection.flush()
  process.send?.('nats')
}

await main()
