import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished, vi } from 'vitest'
import { AuditTrail } from './audit-log.ts'
import { StoredServices } from './service-registry.ts'
import { TunnelHost } from './tunnel-host.ts'

async function hostOfService() {
  const folder = await mkdtemp(join(tmpdir(), 'mh-services-'))
  const open = new Set<Socket>()
  const server = createServer((socket) => {
    open.add(socket.on('error', () => undefined))
    socket.once('close', () => open.delete(socket)).resume()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(async () => {
    for (const socket of open) socket.destroy()
    await new Promise((resolve) => server.close(resolve))
    await rm(folder, { recursive: true })
  })
  const address = server.address()
  const port = typeof address === 'object' ? address?.port : undefined
  const services = await StoredServices.open(join(folder, 'services.json'))
  const host = new TunnelHost(undefined, services, new AuditTrail({ write: () => undefined, close: () => undefined }))
  await services.expose({ name: 'pg', target: `tcp:127.0.0.1:${port}`, grants: ['any'] })
  return { services, host, open }
}

it('makes no connection whose grant is taken back while it is dialed', async () => {
  const { services, host, open } = await hostOfService()
  const dialing = host.dialLocal('pg', { node: 'self' })
  vi.spyOn(services, 'granted').mockReturnValue(undefined)
  host.recheck()
  expect(await dialing).toBeUndefined()
  await expect.poll(() => open.size).toBe(0)
})
