/**
 * A node made by hand: takes messages on a socket, has its child run them, and appends the result of each run to a file, synced, before it answers.
 * `server.ts <socket> <file> [<socket of the other node>]`
 */
import { spawn } from 'node:child_process'
import { open } from 'node:fs/promises'
import { connect, createServer, Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { asker, talk } from './lines.ts'

const [path = '', file = '', other] = process.argv.slice(2)
const journal = await open(file, 'a')

const host = fileURLToPath(new URL('host.ts', import.meta.url))
const child = spawn(process.execPath, ['--no-node-snapshot', host], { stdio: ['ignore', 'inherit', 'inherit', 'pipe'] })
const pipe = child.stdio[3]
if (!(pipe instanceof Socket)) throw new Error('The child has no socket')
const here = asker(pipe)
const away = other === undefined ? here : asker(connect(other))

createServer((socket) => {
  const say = talk(socket, async (message) => {
    const { id, op } = message
    const text = await (message.away ? away({ ...message, away: false }) : here(message))
    if (op === 'run') {
      await journal.write(`${JSON.stringify({ ...message, text })}\n`)
      await journal.datasync()
    }
    say({ id, op: 'done', text })
  })
}).listen(path, () => console.log('ready'))
