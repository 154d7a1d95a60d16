/** Commands, terminals, background processes and code inside a sandbox. */
import {
  type BackgroundProcess,
  type ExecEnd,
  exitCodeOf,
  ManyhandsError,
  type OutputPiece,
  type Sandbox,
  type SandboxProcess,
} from '../../../sdk/src/index.ts'
import type { Context } from '../context.ts'
import { readText, standardInput } from '../inputs.ts'
import type { Io, Tty } from '../io.ts'
import { table } from '../table.ts'
import { safeLine, safeText } from '../terminal.ts'
import { formatSize, parseCount, parseDuration } from '../units.ts'
import { parseEnv } from './sandbox.ts'

export interface ExecFlags {
  readonly stdin?: boolean
  readonly cwd?: string
  readonly env?: string[]
  readonly timeout?: string
}

interface Target {
  readonly box: Sandbox
  readonly argv: readonly string[]
  readonly options: {
    readonly cwd: string | undefined
    readonly env: Record<string, string> | undefined
    readonly timeout: number | undefined
  }
}

async function targetOf({ mesh }: Context, args: readonly string[], flags: ExecFlags): Promise<Target> {
  const [id = '', ...rest] = args
  const { cwd, env, timeout } = flags
  const argv = rest[0] === '--' ? rest.slice(1) : rest
  if (argv === rest && argv[0]?.startsWith('-') === true)
    throw new ManyhandsError('E_BAD_REQUEST', `Cannot run "${argv[0]}": that is an option`, {
      hint: 'Options go before the name of the sandbox: manyhands sandbox exec --timeout 5s dev -- make',
    })
  return {
    box: await (await mesh()).sandboxes.get(id),
    argv,
    options: {
      cwd,
      env: env === undefined ? undefined : parseEnv(env),
      timeout: timeout === undefined ? undefined : parseDuration(timeout),
    },
  }
}

/** With --json: one object with everything; else output as it comes. */
export async function exec(context: Context, args: readonly string[], flags: ExecFlags): Promise<number> {
  const { output, signal } = context
  const { box, argv, options } = await targetOf(context, args, flags)
  if (output.json) {
    const stdin = flags.stdin ? standardInput(context) : undefined
    const result = await box.exec(argv, { ...options, stdin, signal })
    await output.jsonLine(result)
    return result.exitCode
  }
  // An interruption that came before there is a command ends this one; from here on it is the command's
  signal.throwIfAborted()
  const process = await box.spawn(argv, { ...options, stdin: flags.stdin ?? false })
  const interrupt = (): void => process.kill('SIGINT')
  signal.addEventListener('abort', interrupt, { once: true })
  if (signal.aborted) interrupt()
  const feeding = flags.stdin ? feed(process, output.io) : undefined
  const show = shownOn(output.io)
  for await (const piece of process.output()) await show(piece)
  const end = await process.ended
  signal.removeEventListener('abort', interrupt)
  void feeding
  output.io.stdin.destroy()
  return tellEnd(end, context)
}

/** Exact into a pipe, safe on a terminal. For the pieces of one command: a character may begin in one and end in the next. */
function shownOn(io: Io): (piece: OutputPiece) => Promise<void> {
  const decode = decoders()
  return async ({ stream, bytes }) => {
    const terminal = stream === 'stdout' ? io.columns !== undefined : io.interactive
    if (!terminal) return io.writeBytes(stream, bytes)
    const text = safeText(decode[stream].decode(bytes, { stream: true }))
    if (stream === 'stdout') await io.writeOut(text)
    else io.writeErr(text)
  }
}

function decoders() {
  return { stdout: new TextDecoder(), stderr: new TextDecoder() }
}

/** Ends with standard input or the command, whichever is first. */
async function feed(process: SandboxProcess, io: Io): Promise<void> {
  try {
    for await (const chunk of io.stdin) await process.write(chunk as Uint8Array)
    process.endInput()
  } catch {
    // The command has ended: nobody reads any more
  }
}

function tellEnd(end: ExecEnd, { output }: Context): number {
  const told = ENDS[end.reason]
  if (end.reason === 'not-started') output.note(`error: ${safeLine(end.message ?? 'it could not be started')}`)
  else if (told !== undefined) output.note(`ended: ${told}`)
  return exitCodeOf(end)
}

const ENDS: Readonly<Partial<Record<ExecEnd['reason'], string>>> = {
  timeout: 'it ran past its timeout',
  memory: 'it used more memory than the sandbox has',
  pids: 'the sandbox had no process left',
  disk: 'the disk of the sandbox was full',
  output: 'it wrote more than it may',
  canceled: 'it was canceled',
  'engine-lost': 'the container engine went away',
  'sandbox-lost': 'the sandbox ended',
}

/** Keys go in as they are typed, Ctrl-C too; what comes out steers the terminal, as in any shell on another host. */
export async function shell(context: Context, args: readonly string[], flags: ExecFlags): Promise<number> {
  const { output, signal } = context
  const { io } = output
  const { tty } = io
  if (!tty) {
    throw new ManyhandsError('E_BAD_REQUEST', 'Cannot open a terminal: standard input and output are none', {
      hint: 'Use: manyhands sandbox exec -i',
    })
  }
  const { box, argv, options } = await targetOf(context, args, flags)
  const terminal = { TERM: io.env['TERM'] ?? 'xterm-256color', ...options.env }
  const shown = { ...options, env: terminal, signal, ...(argv.length === 0 ? {} : { argv }) }
  const process = await box.terminal(tty.size(), shown)
  return withTerminal(tty, io, process)
}

async function withTerminal(tty: Tty, io: Io, process: SandboxProcess): Promise<number> {
  const stopResizing = tty.onResize(() => process.resize(tty.size()))
  tty.raw(true)
  try {
    void feed(process, io)
    for await (const { bytes } of process.output()) await io.writeBytes('stdout', bytes)
    return exitCodeOf(await process.ended)
  } finally {
    stopResizing()
    tty.raw(false)
    io.stdin.destroy()
  }
}

export async function start(context: Context, args: readonly string[], flags: ExecFlags): Promise<undefined> {
  const { box, argv, options } = await targetOf(context, args, flags)
  const process = await box.start(argv, { ...options, signal: context.signal })
  await context.output.answer({ process: process.id }, () => String(process.id))
}

export async function processes({ mesh, output }: Context, id: string): Promise<undefined> {
  const list = await (await (await mesh()).sandboxes.get(id)).processes()
  await output.answer({ processes: list }, () => {
    if (list.length === 0) return 'No background processes.'
    return table(
      [
        { title: 'ID', of: (one: (typeof list)[number]) => one.id },
        { title: 'PID', of: (one) => one.pid },
        { title: 'STATE', of: (one) => (one.running ? 'running' : 'ended') },
        { title: 'OUTPUT', of: (one) => formatSize(one.outputBytes), align: 'right' },
        { title: 'NAME', of: (one) => one.name },
      ],
      list,
      output.io.columns,
    )
  })
}

export async function kill(
  { mesh, output }: Context,
  id: string,
  process: string,
  flags: { readonly signal?: string },
): Promise<undefined> {
  const box = await (await mesh()).sandboxes.get(id)
  const signal = flags.signal ?? 'SIGTERM'
  await box.process(parseCount(process)).kill(signal.startsWith('SIG') ? signal : `SIG${signal}`)
  await output.answer({ sent: signal }, () => `sent ${safeLine(signal)}`)
}

/** With --json: one object for each piece, as they come. */
export async function logs(
  { mesh, output, signal }: Context,
  id: string,
  text: string | undefined,
  flags: { readonly follow?: boolean },
): Promise<number> {
  const box = await (await mesh()).sandboxes.get(id)
  const process = text === undefined ? await newest(box) : box.process(parseCount(text))
  const decode = decoders()
  const show = shownOn(output.io)
  try {
    for await (const piece of process.logs({ follow: flags.follow, signal })) {
      const { stream, bytes } = piece
      if (output.json) await output.jsonLine({ stream, text: decode[stream].decode(bytes, { stream: true }) })
      else await show(piece)
    }
  } catch (error) {
    // Ctrl-C is how following is meant to end
    if (!signal.aborted || !flags.follow) throw error
  }
  return 0
}

async function newest(box: Sandbox): Promise<BackgroundProcess> {
  const last = (await box.processes()).at(-1)
  if (last) return box.process(last.id)
  throw new ManyhandsError('E_NOT_FOUND', 'Cannot show output: the sandbox has no background process', {
    hint: 'Start one: manyhands sandbox start <sandbox> -- <command>',
  })
}

const LANGUAGES = ['python', 'node', 'shell'] as const

export async function runCode(
  context: Context,
  id: string,
  name: string,
  given: string | undefined,
  flags: { readonly context?: string; readonly timeout?: string },
): Promise<number> {
  const { mesh, output, signal } = context
  const language = LANGUAGES.find((one) => one === name)
  if (!language) {
    throw new ManyhandsError('E_BAD_REQUEST', `Cannot run "${name}" code`, { hint: `One of: ${LANGUAGES.join(', ')}` })
  }
  const code = given ?? (await readText('-', context))
  const box = await (await mesh()).sandboxes.get(id)
  const outcome = await box.runCode(language, code, {
    context: flags.context,
    timeout: flags.timeout === undefined ? undefined : parseDuration(flags.timeout),
    signal,
    ...(output.json ? {} : { stream: shownOn(output.io) }),
  })
  if (output.json) await output.jsonLine(outcome)
  else {
    for (const { type, data, base64 } of outcome.results) {
      const shown = !base64 && (type === 'text/plain' || outcome.results.length === 1)
      // The richer forms of a value that is shown as text
      if (!shown && !base64) continue
      await output.value(shown ? data : `[${type}, ${formatSize(Math.floor(data.length * 0.75))}; --json shows it]`)
    }
    const { error } = outcome
    if (error) output.note(safeText(error.trace ?? `${error.name}: ${error.message}`))
  }
  return outcome.ok ? 0 : 1
}
