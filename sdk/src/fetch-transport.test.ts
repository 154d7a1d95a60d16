/** The transport of browsers, which Node's `fetch` serves as well. */
import { createHash, createHmac } from 'node:crypto'
import { createServer, type Server } from 'node:http'
import { afterEach, expect, it } from 'vitest'
import { Client } from './client.ts'
import { eventStream } from './event-stream.ts'
import { fetchTransport } from './fetch-transport.ts'
import { meshEvent } from './replies.ts'

const TOKEN = 'a-token-of-some-length'
const servers: Server[] = []
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    server.close()
  }
})

/** A daemon whose event streams break off after one event each. */
async function breaking(): Promise<URL> {
  let streams = 0
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://localhost')
    if (url.pathname === '/v0/challenge') {
      const verifier = createHash('sha256').update(TOKEN).digest('hex')
      const nonce = url.searchParams.get('nonce') ?? ''
      const proof = createHmac('sha256', verifier).update(`manyhands-daemon\0${nonce}`).digest('hex')
      response.setHeader('content-type', 'application/json').end(JSON.stringify({ proof, version: '0' }))
      return
    }
    const data = JSON.stringify({ type: 'peer-up', peer: 'p', name: String(++streams) })
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write(`id: r-${streams}\ndata: ${data}\n\n`)
    setTimeout(() => response.destroy(), 20)
  })
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return new URL(`http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`)
}

it('resumes an event stream whose connection broke', async () => {
  const client = new Client(fetchTransport(await breaking(), TOKEN))
  const names: string[] = []
  for await (const event of eventStream(client, '/v0/events', meshEvent)) {
    if (event.type === 'peer-up') names.push(event.name)
    if (names.length === 3) break
  }
  expect(names).toEqual(['1', '2', '3'])
  await client.close()
})
