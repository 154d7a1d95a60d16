/**
 * A registry with one image, just enough of the OCI distribution specification (1.1) for an engine to pull it: `GET /v2/`, manifests and blobs. An
 * engine takes plain HTTP from a loopback address.
 */
import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import { gzipSync } from 'node:zlib'

export interface TinyRegistry {
  /** With host and port, as an engine is asked for it */
  readonly image: string
  close(): Promise<void>
}

const digestOf = (bytes: Uint8Array): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`

/** @param root a tar of the only layer */
export async function tinyRegistry(root: Buffer): Promise<TinyRegistry> {
  const layer = gzipSync(root, { level: 1 })
  const config = Buffer.from(
    JSON.stringify({
      ...{ architecture: 'amd64', os: 'linux', config: {} },
      rootfs: { type: 'layers', diff_ids: [digestOf(root)] },
    }),
  )
  const type = 'application/vnd.docker.distribution.manifest.v2+json'
  const part = (mediaType: string, bytes: Buffer) => ({ mediaType, size: bytes.length, digest: digestOf(bytes) })
  const manifest = Buffer.from(
    JSON.stringify({
      ...{ schemaVersion: 2, mediaType: type },
      config: part('application/vnd.docker.container.image.v1+json', config),
      layers: [part('application/vnd.docker.image.rootfs.diff.tar.gzip', layer)],
    }),
  )
  const blobs = new Map([config, layer].map((bytes) => [digestOf(bytes), bytes]))
  const server = createServer((request, response) => {
    const path = request.url ?? ''
    const name = path.split('/').at(-1) ?? ''
    const manifestAsked = path === '/v2/tiny/manifests/1' || path === `/v2/tiny/manifests/${digestOf(manifest)}`
    const body = path === '/v2/' ? Buffer.from('{}') : manifestAsked ? manifest : blobs.get(name)
    const headers = {
      'content-type': manifestAsked ? type : 'application/octet-stream',
      'content-length': body?.length ?? 0,
    }
    response.writeHead(body ? 200 : 404, {
      ...headers,
      'docker-content-digest': manifestAsked ? digestOf(manifest) : name,
    })
    response.end(request.method === 'HEAD' ? undefined : body)
  })
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready))
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  return {
    image: `127.0.0.1:${port}/tiny:1`,
    close: () =>
      new Promise((done) => {
        server.closeAllConnections()
        server.close(() => done())
      }),
  }
}
