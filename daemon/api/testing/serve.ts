/** A test API in a process of its own: prints where it is as one JSON line, ends at SIGTERM. Argument: its home folder. */
import { startTestApi } from './test-api.ts'

const home = process.argv[2]
if (home === undefined) throw new TypeError('A home folder is wanted')
const api = await startTestApi({ home, tcp: false, flags: { 'api.connections': '10000', 'api.streams': '10000' } })
process.once('SIGTERM', () => void api.close().then(() => process.exit(0)))
process.stdout.write(`${JSON.stringify({ socket: api.paths.socket, token: api.token })}\n`)
