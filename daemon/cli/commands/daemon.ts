/** Starting and stopping the daemon of this node, and joining a mesh. */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { ManyhandsError } from '../../../sdk/src/errors.ts'
import type { StatusView } from '../../../sdk/src/index.ts'
import { userPaths } from '../../config/user-paths.ts'
import { isRunning } from '../is-running.ts'
import type { Context } from '../context.ts'
import { type DaemonOptions, daemonEntry } from '../daemon-entry.ts'
import { type Output, ReaderGone } from '../io.ts'
import type { SpawnedDaemon } from '../spawn-daemon.ts'
import { startFailure } from '../start-failure.ts'
import { pairs } from '../table.ts'
import { safeLine } from '../terminal.ts'
import { parseDuration } from '../units.ts'
import { addressRows, countOf } from '../views.ts'

export interface ConfigFlags {
  readonly name?: string
  readonly listen?: string[]
  readonly port?: string
  readonly logLevel?: string
  readonly config?: string
  readonly set?: string[]
}

export interface UpFlags extends ConfigFlags {
  readonly detach?: boolean
}

const POLL_MS = 50
/** A daemon that does not answer and has not ended after this does not answer. */
const STAYS_MS = 60_000
/** A start that takes longer is reported as failed */
const START_MS = 60_000

export async function up(context: Context, flags: UpFlags): Promise<number> {
  const options = daemonOptions(flags)
  const running = await findRunning(context.signal)
  if (running) {
    throw new ManyhandsError(
      'E_ALREADY_RUNNING',
      `A daemon is running here already: ${running.name}, pid ${running.pid}`,
      {
        hint: 'See it with: manyhands status; end it with: manyhands down',
      },
    )
  }
  return flags.detach ? upDetached(context, options) : upForeground(context, options)
}

async function upForeground({ output, signal }: Context, options: DaemonOptions): Promise<number> {
  // A terminal that is closed would end it in the midst of its work. It comes more than once (from shell and kernel), and is no hurry
  const hangup = new AbortController()
  process.on('SIGHUP', () => hangup.abort())
  const entry = await daemonEntry()
  entry.closeInherited()
  const ending = AbortSignal.any([signal, hangup.signal])
  const daemon = await entry.runDaemon(options, ending).catch((error: unknown) => {
    if (ending.aborted && error === ending.reason) return undefined
    throw error
  })
  // Asked to end while it still began: everything is closed, and nothing failed
  if (daemon === undefined) return process.exit(0)
  const stop = (): void => void daemon.stop().catch(() => undefined)
  if (hangup.signal.aborted) stop()
  else hangup.signal.addEventListener('abort', stop, { once: true })
  const onAbort = (): void => {
    output.note('stopping; Ctrl-C again ends it at once')
    stop()
  }
  if (signal.aborted) onAbort()
  else signal.addEventListener('abort', onAbort, { once: true })
  await tellStart(output, options, daemon.stopped).catch(async (error: unknown) => {
    // Told or not, it must not go on behind a command that failed
    await daemon.stop().catch(() => undefined)
    throw error
  })
  await daemon.stopped
  // Everything is closed, but libp2p leaves a timer behind that would keep the process for another second, and whoever restarts it
  return process.exit(0)
}

/** A daemon that was asked to end while it still tells that it began has not failed: how it ends is what counts. */
async function tellStart(output: Output, options: DaemonOptions, stopped: Promise<void>): Promise<void> {
  const ended = new AbortController()
  void stopped.finally(() => ended.abort()).catch(() => undefined)
  try {
    const status = await askStatus(ended.signal)
    await output.answer(status, () => upText(status))
    tellName(output, options, status)
  } catch (error) {
    if (error instanceof ReaderGone) throw error
    const stays = sleep(STAYS_MS, undefined, { ref: false }).then(() => {
      throw error
    })
    await Promise.race([stopped, stays])
  }
}

async function upDetached({ output, signal }: Context, options: DaemonOptions): Promise<number> {
  const { spawnDaemon } = await import('../spawn-daemon.ts')
  const child = await spawnDaemon(options, userPaths())
  const status = await firstAnswer(child, signal).catch(async (error: unknown) => {
    // Whatever the reason, Ctrl-C too: nothing is left behind that this command did not tell of
    await child.end()
    throw error
  })
  child.unref()
  await output.answer(status, () => upText(status))
  tellName(output, options, status)
  return 0
}

/** The name of a node stands in the member list since the node was made: one that is given later is not taken, and that is said. */
function tellName(output: Output, { flags }: DaemonOptions, { name }: StatusView): void {
  const wanted = flags['name'] ?? ''
  if (wanted === '' || wanted === name) return
  output.note(
    `note: this node keeps its name, ${safeLine(name)}: a name is taken at the first start and at join, and stands in the signed member list since`,
  )
}

async function firstAnswer(child: SpawnedDaemon, signal: AbortSignal): Promise<StatusView> {
  const limit = performance.now() + START_MS
  for (;;) {
    const status = await findRunning(signal)
    if (status) return status
    if (child.exit !== undefined || performance.now() > limit) {
      const log = await readFile(child.startLog, 'utf8').catch(() => '')
      throw startFailure(log, child.exit, START_MS)
    }
    signal.throwIfAborted()
    await sleep(POLL_MS)
  }
}

/** Ends the daemon and waits until its process is gone. */
export async function down(
  { mesh, output, signal }: Context,
  flags: { readonly timeout?: string },
): Promise<undefined> {
  const limitMs = parseDuration(flags.timeout ?? '30s')
  const open = await mesh()
  const { pid, name } = await open.status()
  await open.shutdown()
  const until = performance.now() + limitMs
  while (isRunning(pid)) {
    signal.throwIfAborted()
    if (performance.now() > until) {
      throw new ManyhandsError('E_TIMEOUT', `The daemon (pid ${pid}) still runs after ${flags.timeout ?? '30s'}`, {
        hint: `Wait for its work to drain, or end it: kill ${pid}`,
      })
    }
    await sleep(POLL_MS)
  }
  await output.answer({ stopped: true, pid, name }, () => `stopped ${safeLine(name)}, pid ${pid}`)
}

export async function join({ output, signal }: Context, invite: string, flags: ConfigFlags): Promise<undefined> {
  if (await findRunning(signal)) {
    throw new ManyhandsError('E_ALREADY_RUNNING', 'Cannot join: a daemon is running here', {
      hint: 'First: manyhands down',
    })
  }
  const joined = await (await daemonEntry()).joinMesh(invite, {
    ...daemonOptions(flags),
    ...(flags.name === undefined ? {} : { name: flags.name }),
    signal,
  })
  await output.answer(joined, () =>
    pairs([
      ['joined', `mesh ${joined.meshName}  ${joined.meshId}`],
      ['node', `${joined.name}  ${joined.nodeId}`],
      ['invite', `${joined.inviteFingerprint}  (as the invite's fingerprint)`],
      ['fingerprint', `${joined.fingerprint}  (as in the events of the inviting node)`],
      ['next', 'manyhands up'],
    ]),
  )
}

export async function showPaths({ output }: Context): Promise<undefined> {
  const all = userPaths()
  await output.answer(all, () => pairs(Object.entries(all)))
}

/** @throws ManyhandsError E_BAD_REQUEST */
export function daemonOptions(flags: ConfigFlags): DaemonOptions {
  const values: Record<string, string> = {}
  for (const pair of flags.set ?? []) {
    const at = pair.indexOf('=')
    if (at < 1)
      throw new ManyhandsError('E_BAD_REQUEST', `Cannot set "${pair}"`, {
        hint: 'Write --set key=value, e.g. --set log.level=debug',
      })
    values[pair.slice(0, at)] = pair.slice(at + 1)
  }
  if (flags.name !== undefined) values['name'] = flags.name
  if (flags.listen !== undefined) values['net.listen'] = flags.listen.join(',')
  if (flags.port !== undefined) values['api.port'] = flags.port
  if (flags.logLevel !== undefined) values['log.level'] = flags.logLevel
  return flags.config === undefined ? { flags: values } : { configFile: flags.config, flags: values }
}

/** The daemon of this node, if one answers and proves itself. */
async function findRunning(signal: AbortSignal): Promise<StatusView | undefined> {
  if (!mayRun()) return undefined
  try {
    return await askStatus(signal)
  } catch (error) {
    if (error instanceof ManyhandsError && (error.code === 'E_NOT_RUNNING' || error.code === 'E_UNREACHABLE'))
      return undefined
    throw error
  }
}

/** Whether there is anybody to ask. Where there is no socket, nobody listens, and a start need not load the client. */
function mayRun(): boolean {
  const { MANYHANDS_SOCKET, MANYHANDS_URL } = process.env
  const { socket, socketFile } = userPaths()
  // A daemon that was started in another environment has its socket elsewhere
  return Boolean(MANYHANDS_URL) || existsSync(MANYHANDS_SOCKET || socket) || existsSync(socketFile)
}

async function askStatus(signal: AbortSignal): Promise<StatusView> {
  const { connect } = await import('../../../sdk/src/index.ts')
  const mesh = await connect({ signal })
  try {
    return await mesh.status({ signal })
  } finally {
    await mesh.close()
  }
}

function upText(status: StatusView): string {
  const next =
    status.mesh.members > 1
      ? 'manyhands peers'
      : 'manyhands invite   (then, on another host: manyhands join <invite> && manyhands up)'
  return [
    pairs([
      ['node', `${status.name}  ${status.id}`],
      ['mesh', `${status.mesh.name}  ${status.mesh.id}, ${countOf(status.mesh.members, 'member')}`],
      ...addressRows(status),
      ...Object.entries(status.paths),
    ]),
    `next: ${next}`,
  ].join('\n')
}
