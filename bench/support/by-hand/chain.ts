/**
 * The least that gives a client what a run from the SDK gives: a socket, a process with isolates made ahead, a synced line for the result; for the
 * other node the same again behind another socket. No checks, limits, leases, receipts, encryption or jail: what is left is the machine's own price.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { asker, type Message } from './lines.ts'

export interface Chain {
  ask(message: Omit<Message, 'id'>): Promise<string>
  close(): void
}

export async function startChain(): Promise<Chain> {
  const folder = mkdtempSync(join(tmpdir(), 'mh-by-hand-'))
  const at = (name: string): string => join(folder, name)
  const peer = await startServer(at('peer'), at('peer.log'))
  const node = await startServer(at('node'), at('node.log'), at('peer'))
  const socket = connect(at('node'))
  await once(socket, 'connect')
  return {
    ask: asker(socket),
    close() {
      socket.destroy()
      for (const child of [peer, node]) child.kill('SIGKILL')
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

async function startServer(...args: string[]): Promise<ChildProcess> {
  const program = fileURLToPath(new URL('server.ts', import.meta.url))
  const child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  if (child.stdout === null) throw new Error('The server has no output')
  const ended = once(child, 'exit').then(() => Promise.reject(new Error('A server made by hand did not start')))
  await Promise.race([once(child.stdout, 'data'), ended])
  return child
}
