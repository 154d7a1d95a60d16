/** A command of a guest joined to its asker: output as fast as the asker takes it, input as fast as the guest does. */
import type { BoxControl } from '../../protocol/api-sandboxes.ts'
import { MeshError } from '../../protocol/errors.ts'
import type { OpReply, SandboxOp } from '../../protocol/sandbox/op.ts'
import {
  type ExecOptions,
  GUEST_SIGNALS,
  type GuestConnection,
  type GuestProcess,
  type GuestSignal,
} from '../exec/sandbox/guest/guest-connection.ts'
import { execEnd, processView } from './guest-end.ts'
import type { OpLink } from './op-link.ts'

type ExecOp = Extract<SandboxOp, { op: 'exec' | 'start' }>

/** @param env of the sandbox's door; what the command names itself counts more */
export async function runExec(
  guest: GuestConnection,
  op: ExecOp,
  env: Readonly<Record<string, string>>,
  link: OpLink,
): Promise<OpReply> {
  const process = guest.exec({ ...optionsOf(op, env), signal: link.signal })
  steer(process, link)
  await passOutput(process, link)
  return { end: execEnd(await process.ended) }
}

export async function startProcess(
  guest: GuestConnection,
  op: ExecOp,
  env: Readonly<Record<string, string>>,
): Promise<OpReply> {
  const process = guest.exec({
    ...optionsOf({ ...op, stdin: false }, env),
    background: true,
    name: op.name ?? op.argv.join(' ').slice(0, 64),
  })
  try {
    const view = (await guest.processes()).find(({ id }) => id === process.id)
    if (view) return { process: processView(view) }
    // It ended before anyone looked
    const end = await process.ended
    if (end.kind === 'not-started') throw new MeshError(end.code, `Cannot start the process: ${end.message}`)
    return { process: { id: process.id, name: op.name ?? '', pid: 0, running: false, outputBytes: 0 } }
  } finally {
    process.release()
  }
}

function optionsOf(op: ExecOp, env: Readonly<Record<string, string>>): ExecOptions {
  const { argv, cwd, timeoutMs, terminal, stdin, maxOutputBytes } = op
  return {
    argv,
    env: { ...env, ...op.env },
    ...(cwd === undefined ? {} : { cwd }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(terminal === undefined ? {} : { pty: terminal }),
    ...(stdin === true ? { stdin: 'stream' as const } : {}),
    ...(maxOutputBytes === undefined ? {} : { maxOutputBytes }),
  }
}

function steer(process: GuestProcess, link: OpLink): void {
  link.receive({
    // Input of a process that has ended is of no use to anyone
    data: (bytes) => process.write(bytes).catch(() => undefined),
    finish: () => process.endInput(),
    control: (control) => applyControl(process, control),
  })
}

function applyControl(process: GuestProcess, control: BoxControl): void {
  if ('resize' in control) process.resize(control.resize)
  else process.signal(guestSignal(control.signal))
}

/** @throws MeshError E_BAD_REQUEST */
function guestSignal(name: string): GuestSignal {
  const found = GUEST_SIGNALS.find((signal) => signal === name)
  if (found) return found
  throw new MeshError('E_BAD_REQUEST', `Cannot send the signal "${name}": it is not one`, {
    hint: `One of: ${GUEST_SIGNALS.join(', ')}`,
  })
}

/** To a background process. @throws MeshError E_NOT_FOUND, E_BAD_REQUEST */
export async function signalProcess(guest: GuestConnection, id: number, name: string): Promise<OpReply> {
  const signal = guestSignal(name)
  const process = await guest.attach(id)
  process.signal(signal)
  process.release()
  return {}
}

async function passOutput(process: GuestProcess, link: OpLink): Promise<void> {
  try {
    for await (const { fd, bytes } of process.output) await link.send(fd, bytes)
  } catch (error) {
    process.stop()
    throw error
  }
}

type LogsOp = Extract<SandboxOp, { op: 'logs' }>

/** What is kept of a background process, then, when asked, what comes. */
export async function passLogs(guest: GuestConnection, op: LogsOp, keptBytes: number, link: OpLink): Promise<OpReply> {
  const view = (await guest.processes()).find(({ id }) => id === op.process)
  const process = await guest.attach(op.process)
  const all = op.follow === true || view?.running === false
  let left = Math.min(view?.outputBytes ?? 0, keptBytes)
  // Also ends waiting for a process that writes nothing
  const leave = (): void => process.release()
  link.signal.addEventListener('abort', leave, { once: true })
  try {
    link.signal.throwIfAborted()
    if (!all && left === 0) return {}
    for await (const { fd, bytes } of process.output) {
      await link.send(fd, bytes)
      left -= bytes.length
      if (!all && left <= 0) return {}
    }
    link.signal.throwIfAborted()
    return { end: execEnd(await process.ended) }
  } finally {
    link.signal.removeEventListener('abort', leave)
    process.release()
  }
}

type WaitLogOp = Extract<SandboxOp, { op: 'wait-log' }>

/** Bytes of one line that are looked at; a longer one is cut. */
const LINE_BYTES = 64 << 10

/** @throws MeshError E_TIMEOUT */
export async function waitLog(guest: GuestConnection, op: WaitLogOp, signal: AbortSignal): Promise<OpReply> {
  const process = await guest.attach(op.process)
  const late = Promise.withResolvers<never>()
  late.promise.catch(() => undefined)
  const timer =
    op.timeoutMs === undefined
      ? undefined
      : setTimeout(
          () => late.reject(new MeshError('E_TIMEOUT', `No such line came within ${op.timeoutMs} ms`)),
          op.timeoutMs,
        )
  const onAbort = (): void => late.reject(signal.reason)
  signal.addEventListener('abort', onAbort, { once: true })
  const pieces = process.output[Symbol.asyncIterator]()
  try {
    return await Promise.race([findLine(pieces, op.text), late.promise])
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', onAbort)
    process.release()
    pieces.return?.().catch(() => undefined)
  }
}

async function findLine(
  pieces: AsyncIterator<{ readonly fd: 1 | 2; readonly bytes: Uint8Array }>,
  text: string,
): Promise<OpReply> {
  const held = { 1: '', 2: '' }
  const decoders = { 1: new TextDecoder(), 2: new TextDecoder() }
  for (;;) {
    const next = await pieces.next()
    if (next.done) return {}
    const { fd, bytes } = next.value
    const lines = (held[fd] + decoders[fd].decode(bytes, { stream: true })).split('\n')
    // An unfinished line may hold it already
    const line = lines.find((one) => one.includes(text))
    if (line !== undefined) return { line: line.slice(0, LINE_BYTES) }
    held[fd] = (lines.pop() ?? '').slice(-LINE_BYTES)
  }
}
