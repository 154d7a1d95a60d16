import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { connect, TLSSocket } from 'node:tls'
import { expect, test } from 'vitest'
import { Authority } from './certificates.ts'

const NOW = Date.now()

/** Resolves with the certificate a client accepted, or rejects as it did. */
async function handshake(
  authority: Authority,
  host: string,
  servername = host,
  ca = authority.certificatePem,
): Promise<X509Certificate | undefined> {
  const server = createServer((socket) => {
    new TLSSocket(socket, { isServer: true, secureContext: authority.contextFor(host, NOW) }).on(
      'error',
      () => undefined,
    )
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address() as AddressInfo
  const isAddress = /^[\d.]+$|^\[/.test(servername)
  const bare = servername.replaceAll(/[[\]]/g, '')
  const socket = connect({
    port: address.port,
    host: '127.0.0.1',
    ca,
    ...(isAddress ? { checkServerIdentity: (_: string, cert) => checkAddress(cert.raw, bare) } : { servername }),
  })
  try {
    await once(socket, 'secureConnect')
    return socket.getPeerX509Certificate()
  } finally {
    socket.destroy()
    server.close()
  }
}

const checkAddress = (raw: Buffer, address: string): Error | undefined =>
  new X509Certificate(raw).checkIP(address) === undefined ? new Error('wrong address') : undefined

test('a client that trusts the authority accepts its hosts: names, IPv4 and IPv6', async () => {
  const authority = new Authority('manyhands test', NOW)
  for (const host of ['a.test', '127.0.0.1', '[2001:db8::1]']) {
    const certificate = await handshake(authority, host)
    expect(certificate?.verify(new X509Certificate(authority.certificatePem).publicKey)).toBe(true)
    expect(certificate?.ca).toBe(false)
  }
})

test('another name, or another authority, is refused', async () => {
  const authority = new Authority('manyhands test', NOW)
  await expect(handshake(authority, 'a.test', 'b.test')).rejects.toThrow(/altnames/i)
  await expect(handshake(authority, '10.0.0.1', '10.0.0.2')).rejects.toThrow('wrong address')
  await expect(
    handshake(authority, 'a.test', 'a.test', new Authority('manyhands test', NOW).certificatePem),
  ).rejects.toThrow()
})

test('the authority is one, for a year, and each certificate has its own serial number', async () => {
  const authority = new Authority('manyhands test', NOW)
  const root = new X509Certificate(authority.certificatePem)
  expect(root.ca).toBe(true)
  expect(root.subject).toBe('CN=manyhands test')
  expect(Date.parse(root.validFrom)).toBeLessThan(NOW - 3_600_000)
  expect(Date.parse(root.validTo)).toBeGreaterThan(NOW + 360 * 86_400_000)
  const serials = await Promise.all(
    ['a.test', 'b.test'].map(async (host) => (await handshake(authority, host))?.serialNumber),
  )
  expect(new Set([...serials, root.serialNumber]).size).toBe(3)
  expect(new X509Certificate(new Authority('far', Date.UTC(2060, 0, 1)).certificatePem).validTo).toContain('2060')
})

test('from the same seed comes the same authority: what trusted the old certificate accepts hosts of the new one', async () => {
  const seed = Buffer.alloc(32, 7)
  const before = new Authority('manyhands test', NOW - 86_400_000, seed)
  const after = new Authority('manyhands test', NOW, seed)
  await handshake(after, 'a.test', 'a.test', before.certificatePem)
  const other = new Authority('manyhands test', NOW, Buffer.alloc(32, 8))
  await expect(handshake(other, 'a.test', 'a.test', before.certificatePem)).rejects.toThrow()
})
