/** What every command gets: its output, the connection to the daemon, and the signal of Ctrl-C. */
import type { Mesh } from '../../sdk/src/index.ts'
import { Interrupted, tellFailure } from './failure.ts'
import { EXIT_INTERRUPTED } from './exit.ts'
import { type Io, Output } from './io.ts'

export interface Context {
  readonly output: Output
  /** Aborts at the first Ctrl-C, with an `Interrupted` as reason */
  readonly signal: AbortSignal
  /** Connects once; closed when the command ends */
  mesh(): Promise<Mesh>
}

/** Resolves with the exit code; nothing means 0. */
export type Run = (context: Context) => Promise<number | undefined>

/** One Ctrl-C may come twice, from the terminal and from the process that started this one; within this time, milliseconds, it is the same. */
const SAME_INTERRUPT_MS = 200

/** The client is loaded only where a daemon is asked: starting one does not wait for it. */
async function connectTo(signal: AbortSignal): Promise<Mesh> {
  const { connect } = await import('../../sdk/src/index.ts')
  return connect({ signal })
}

/** Runs a command to its exit code. Never rejects. The second Ctrl-C ends the process at once. */
export async function runCommand(io: Io, json: boolean, command: Run): Promise<number> {
  const output = new Output(io, json)
  const interrupt = new AbortController()
  let interruptedAt = 0
  const onSignal = (): void => {
    const now = performance.now()
    if (!interrupt.signal.aborted) {
      interruptedAt = now
      interrupt.abort(new Interrupted('interrupted'))
    } else if (now - interruptedAt > SAME_INTERRUPT_MS) process.exit(EXIT_INTERRUPTED)
  }
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
  let mesh: Promise<Mesh> | undefined
  const context: Context = {
    output,
    signal: interrupt.signal,
    mesh: () => (mesh ??= connectTo(interrupt.signal)),
  }
  try {
    return (await command(context)) ?? 0
  } catch (error) {
    return await tellFailure(error, output)
  } finally {
    process.off('SIGINT', onSignal)
    process.off('SIGTERM', onSignal)
    // Whoever reads of it what nobody needs any more would keep the process alive until somebody types
    io.stdin.destroy()
    // A connection that never came needs no closing
    const open = await mesh?.catch(() => undefined)
    await open?.close()
  }
}
