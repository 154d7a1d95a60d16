/** An agent as a plain child process, without an engine: the same transport as a container's, for tests and benches. */
import { type ChildProcess, spawn } from 'node:child_process'
import { writeParts } from '../../engine/attached-stream.ts'
import type { GuestTransport } from '../guest-connection.ts'

export interface ChildAgent {
  readonly child: ChildProcess
  readonly transport: GuestTransport
  /** A second conversation with the same process, as after a daemon's crash */
  again(): GuestTransport
  /** Ends the process and waits for that */
  stop(): Promise<void>
}

export function startChildAgent(command: readonly string[], env: Readonly<Record<string, string>> = {}): ChildAgent {
  const [file = '', ...args] = command
  const child = spawn(file, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { PATH: '/usr/local/bin:/usr/bin:/bin', ...env },
  })
  const { stdin, stdout, stderr } = child
  // not "close": what it started may hold its streams for longer
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  // what is written to an agent that died is of no interest
  stdin.on('error', () => {})
  let current: ((bytes: Buffer, fd: 1 | 2) => void) | undefined
  let onEnd: ((error?: Error) => void) | undefined
  stdout.on('data', (bytes: Buffer) => current?.(bytes, 1))
  stderr.on('data', (bytes: Buffer) => current?.(bytes, 2))
  void exited.then(() => onEnd?.())
  const transport = (): GuestTransport => {
    let open = true
    return {
      write: (...parts) => !open || writeParts(stdin, parts),
      onDrain: (listener) => void stdin.on('drain', () => open && listener()),
      onData(listener) {
        current = (bytes, fd) => open && listener(bytes, fd)
      },
      onEnd(listener) {
        onEnd = (error) => open && listener(error)
      },
      pause: () => void stdout.pause(),
      resume: () => void stdout.resume(),
      close() {
        open = false
      },
    }
  }
  return {
    child,
    transport: transport(),
    again: transport,
    async stop() {
      // at the end of its input an agent ends everything it started
      stdin.end()
      const timer = setTimeout(() => child.kill('SIGKILL'), 2000)
      await exited
      clearTimeout(timer)
      stdout.destroy()
      stderr.destroy()
    },
  }
}
