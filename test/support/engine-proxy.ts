/** A way to an engine on which requests can be kept from it: then the engine never answers them. */
import { connect, createServer, type Socket } from 'node:net'

export interface EngineProxy {
  /** From now on. @param request fits its beginning, e.g. /^DELETE /. @param onHeld called for each that was kept back */
  hold(request: RegExp, onHeld: () => void): void
  /** Lets those through that come from now on. */
  letThrough(): void
  close(): Promise<void>
}

export async function engineProxy(engine: string, socket: string): Promise<EngineProxy> {
  const open = new Set<Socket>()
  let held: { readonly request: RegExp; readonly onHeld: () => void } | undefined
  const server = createServer({ allowHalfOpen: true }, (client) => {
    const behind = connect({ path: engine, allowHalfOpen: true })
    for (const one of [client, behind]) {
      open.add(one)
      one.on('error', () => undefined)
      one.once('close', () => {
        open.delete(one)
        client.destroy()
        behind.destroy()
      })
    }
    client.on('data', (bytes) => {
      if (held?.request.test(bytes.toString('latin1'))) held.onHeld()
      else behind.write(bytes)
    })
    client.on('end', () => behind.end())
    behind.pipe(client)
  })
  await new Promise<void>((resolve) => server.listen(socket, resolve))
  return {
    hold: (request, onHeld) => void (held = { request, onHeld }),
    letThrough: () => void (held = undefined),
    async close() {
      for (const one of open) one.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
