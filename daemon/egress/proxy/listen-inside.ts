/**
 * Started inside a container's network namespace (by nsenter), where it listens on the loopback address, hands the listening socket to the daemon and ends: a
 * socket stays in the namespace it was made in, whoever holds it. So a guest has a door and no process is kept for it.
 */
import { createServer } from 'node:net'

const server = createServer()
const port = Number(process.argv[2])
const fail = (error: Error) =>
  process.send?.({ error: 'code' in error ? String(error.code) : 'failed' }, () => process.exit(1))
server.once('error', fail)
// Accepting is for whoever gets the socket
server.listen({ host: '127.0.0.1', port, backlog: 128 }, () => {
  process.send?.({ listening: true }, server, undefined, () => process.exit(0))
})
