import { ChaosProxy } from './chaos-proxy.ts'
import { freePort } from './free-port.ts'
import type { NodeOptions } from './real-mesh.ts'

/** A node that others reach through a proxy only: it is all that the node tells of its addresses. Whoever asks for it closes the proxy. */
export async function behindProxy(name: string, seed = 1): Promise<{ options: NodeOptions; proxy: ChaosProxy }> {
  const port = await freePort()
  const proxy = await ChaosProxy.listen({ host: '127.0.0.1', port }, seed)
  const settings = { 'net.listen': `/ip4/127.0.0.1/tcp/${port}`, 'net.announce': proxy.address }
  return { options: { name, settings }, proxy }
}
