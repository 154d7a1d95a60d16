/** Listens on loopback and carries each connection to a port of a sandbox. Both halves end on their own, and a slow side slows the other. */
import { createServer, type Server, type Socket } from 'node:net'
import { ManyhandsError } from '../errors.ts'
import type { OpenPort, PortDialer } from '../open-port.ts'

export async function openPort(dial: PortDialer, port: number): Promise<OpenPort> {
  const sockets = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    void carry(socket, dial)
  })
  const here = await listen(server, port)
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve())
      for (const socket of sockets) socket.destroy()
    })
  return { port: here, url: `http://127.0.0.1:${here}`, close, [Symbol.asyncDispose]: close }
}

function listen(server: Server, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) =>
      reject(
        new ManyhandsError('E_CONFLICT', `Cannot listen on port ${port} of this host`, {
          hint: 'Take another port, or 0 for any that is free',
          cause,
        }),
      ),
    )
    server.listen(port, '127.0.0.1', () => {
      const address = server.address()
      resolve(typeof address === 'object' && address !== null ? address.port : port)
    })
  })
}

/** Never rejects: a connection that cannot be made is one that closes. */
async function carry(socket: Socket, dial: PortDialer): Promise<void> {
  const gone = new AbortController()
  socket.on('error', () => undefined)
  socket.once('close', () => gone.abort(new ManyhandsError('E_CANCELED', 'The connection was closed')))
  try {
    const box = await dial(gone.signal)
    const up = (async () => {
      for await (const chunk of socket as AsyncIterable<Buffer>) await box.write(chunk)
      box.finish()
    })()
    const down = (async () => {
      for await (const { bytes } of box.output()) if (!socket.write(bytes)) await drained(socket)
      socket.end()
    })()
    // The first failure ends both
    await Promise.all([up, down])
    await box.done
  } catch {
    socket.destroy()
  }
}

function drained(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    const onDrain = (): void => {
      socket.off('close', onClose)
      resolve()
    }
    const onClose = (): void => {
      socket.off('drain', onDrain)
      reject(new ManyhandsError('E_CANCELED', 'The connection was closed'))
    }
    socket.once('drain', onDrain)
    socket.once('close', onClose)
  })
}
