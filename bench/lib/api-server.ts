/** The API with a task engine that answers at once, and a bare HTTP server beside it. Prints where they are; ends at SIGTERM. */
import { createServer } from 'node:http'
import { join } from 'node:path'
import { startTestApi } from '../../daemon/api/testing/test-api.ts'

const home = process.argv[2]
if (home === undefined) throw new TypeError('A home folder is wanted')
const api = await startTestApi({ home, tcp: false, flags: { 'log.level': 'silent' } })
const bare = createServer((request, response) => {
  const parts: Buffer[] = []
  request.on('data', (part: Buffer) => parts.push(part))
  request.on('end', () => {
    const body: unknown = JSON.parse(Buffer.concat(parts).toString())
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify(body))
  })
})
const bareSocket = join(home, 'run', 'bare.sock')
await new Promise<void>((resolve) => bare.listen(bareSocket, resolve))
process.once('SIGTERM', () => {
  bare.closeAllConnections()
  bare.close()
  void api.close().then(() => process.exit(0))
})
process.stdout.write(`${JSON.stringify({ socket: api.paths.socket, token: api.token, bare: bareSocket })}\n`)
