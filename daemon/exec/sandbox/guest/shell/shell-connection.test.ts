import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, it } from 'vitest'
import { newAgentToken } from '../agent-command.ts'
import type { GuestTransport } from '../guest-connection.ts'
import { startChildAgent } from '../testing/child-agent.ts'
import { shellCommand } from './program.ts'
import { ShellConnection } from './shell-connection.ts'

const undo: (() => Promise<void> | void)[] = []
afterEach(async () => {
  for (const one of undo.splice(0).reverse()) await one()
})

const soon = (): AbortSignal => AbortSignal.timeout(10_000)

/** A real shell, with its own folder in `folder`. */
async function open(
  env: Readonly<Record<string, string>> = {},
): Promise<{ connection: ShellConnection; folder: string; stop(): Promise<void> }> {
  const folder = mkdtempSync(join(tmpdir(), 'mh-shell-'))
  undo.push(() => rmSync(folder, { recursive: true, force: true }))
  const token = newAgentToken()
  const agent = startChildAgent(shellCommand(token), { TMPDIR: folder, ...env })
  undo.push(() => agent.stop())
  const connection = await ShellConnection.open(agent.transport, { token, cwd: '/' }, soon())
  return { connection, folder, stop: () => agent.stop() }
}

it('says that there is no room where it can keep no output, and goes on', async () => {
  const { connection, folder } = await open()
  for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true })
  expect(await connection.exec({ argv: ['true'] }).ended).toEqual({ kind: 'disk' })
  await connection.ping()
})

it('lists its processes also while what they wrote is not there', async () => {
  const { connection, folder } = await open()
  const process = connection.exec({ argv: ['echo', 'text'], background: true, name: 'early' })
  await process.ended
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    if (/\.[12]$/.test(name)) rmSync(join(folder, name))
  }
  expect(await connection.processes()).toMatchObject([{ id: process.id, name: 'early', outputBytes: 0 }])
})

it('keeps its hands off a folder that a variable of the image names', async () => {
  const data = mkdtempSync(join(tmpdir(), 'mh-data-'))
  undo.push(() => rmSync(data, { recursive: true, force: true }))
  const { connection, stop } = await open({ D: data })
  expect(await connection.exec({ argv: ['sh', '-c', `[ "$D" = ${data} ]`] }).ended).toEqual({ kind: 'exit', code: 0 })
  await stop()
  expect(existsSync(data)).toBe(true)
})

it.each(['D', 'S', 'f', 'i', 'v'])('runs a command whose variable %s has any value', async (name) => {
  const { connection } = await open()
  const options = { argv: ['sh', '-c', `[ "$${name}" = 5 ]`], env: { [name]: '5', OTHER: 'x' } }
  expect(await connection.exec(options).ended).toEqual({ kind: 'exit', code: 0 })
  expect(await connection.exec({ ...options, argv: ['/nowhere'] }).ended).toMatchObject({ kind: 'not-started' })
})

/** An agent that answers every request as it is told. */
class ScriptedAgent implements GuestTransport {
  #tell: (bytes: Buffer, fd: 1 | 2) => void = () => undefined
  readonly #token: string
  /** What it says to a request: on standard output, and then on standard error */
  readonly #answers: (script: string) => { readonly text: string; readonly after?: string }

  constructor(token: string, answers: (script: string) => { readonly text: string; readonly after?: string }) {
    this.#token = token
    this.#answers = answers
  }

  write(...parts: readonly Uint8Array[]): boolean {
    const [, id = '', script = ''] = /^\w{32} (\S+) (.*) \.\n$/s.exec(Buffer.concat(parts).toString()) ?? []
    if (id === '') return true
    const { text, after } = this.#answers(script)
    queueMicrotask(() => {
      this.#tell(Buffer.from(`${text}\0${this.#token} ${id} 0\n`), 1)
      if (after !== undefined) this.#tell(Buffer.from(after), 2)
    })
    return true
  }

  onData(listener: (bytes: Buffer, fd: 1 | 2) => void): void {
    this.#tell = listener
  }

  /** On standard output, unasked */
  say(bytes: Buffer): void {
    this.#tell(bytes, 1)
  }

  onDrain(): void {}
  onEnd(): void {}
  pause(): void {}
  resume(): void {}
  close(): void {}
}

it('follows a process to its end also when that comes together with the answer that it runs', async () => {
  const token = newAgentToken()
  const ended = `\0${token} end 7 3 -\n`
  const agent = new ScriptedAgent(token, (script) =>
    script.includes('7.bg') ? { text: '0\n0\n', after: ended } : { text: '' },
  )
  const connection = await ShellConnection.open(agent, { token, cwd: '/' }, soon())
  const process = await connection.attach(7)
  const late = new Promise((resolve) => setTimeout(resolve, 2000, 'no end'))
  expect(await Promise.race([process.ended, late])).toEqual({ kind: 'exit', code: 3 })
})

it('takes what a guest says in little pieces for no more work than in large ones', async () => {
  const token = newAgentToken()
  const agent = new ScriptedAgent(token, () => ({ text: '' }))
  const connection = await ShellConnection.open(agent, { token, cwd: '/' }, soon())
  const began = performance.now()
  const asked = connection.ping()
  for (let at = 0; at < 1 << 20; at += 4) agent.say(Buffer.from('lie\n'))
  await asked
  expect(performance.now() - began).toBeLessThan(2000)
  await connection.ping()
})
