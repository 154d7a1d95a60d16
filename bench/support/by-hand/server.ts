/**
 * A node made by hand: takes messages on a socket, has its child run them, and appends the result of each run to a file, synced, before it answers.
 * `server.ts <socket> <file> [<socket of the other node>]`
 */
import { spawn } from 'node:child_process'
import { open } from 'node:fs/promises'
import { connect, createServer, Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { type Message, talk } from './lines.ts'

const [path = '', file = '', other] = process.argv.slice(2)
const journal = await open(file, 'a')
const waiting = new Map<number, (text: string) => void>()
let last = 0

/** @returns what asks whoever is at the other end */
function asks(socket: Socket): (message: Message) => Promise<string> {
  const say = talk(socket, ({ id, text }) => {
    waiting.get(id)?.(text)
    waiting.delete(id)
  })
  return (message) =>
    new Promise((resolve) => {
      last += 1
      waiting.set(last, resolve)
      say({ ...message, id: last })
    })
}

const host = fileURLToPath(new URL('host.ts', import.meta.url))
const child = spawn(process.execPath, ['--no-node-snapshot', host], { stdio: ['ignore', 'inherit', 'inherit', 'pipe'] })
const pipe = child.stdio[3]
if (!(pipe instanceof Socket)) throw new Error('The child has no socket')
const here = asks(pipe)
const away = other === undefined ? here : asks(connect(other).setNoDelay(true))

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
