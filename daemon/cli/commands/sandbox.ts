/** Making, finding, moving and removing sandboxes. */
import { once } from 'node:events'
import {
  ManyhandsError,
  type OpenPort,
  type Sandbox,
  type SandboxOptions,
  type SandboxView,
} from '../../../sdk/src/index.ts'
import type { Context } from '../context.ts'
import { pairs, table } from '../table.ts'
import { safeLine } from '../terminal.ts'
import { formatSize, parseCount, parseDuration, parseSandboxLimits } from '../units.ts'
import { countOf } from '../views.ts'

export interface CreateFlags {
  readonly image?: string
  readonly artifact?: string
  readonly artifactAccess?: SandboxOptions['artifactAccess']
  readonly name?: string
  readonly on?: string
  readonly grade?: SandboxOptions['isolation']
  readonly profile?: SandboxOptions['profile']
  readonly limit?: string[]
  readonly env?: string[]
  readonly idle?: string
  readonly agent?: string
  readonly key?: string
}

export async function create({ mesh, output, signal }: Context, flags: CreateFlags): Promise<undefined> {
  const { grade, limit, env, idle, ...rest } = flags
  const box = await (await mesh()).sandbox({
    ...rest,
    isolation: grade,
    limits: limit === undefined ? undefined : parseSandboxLimits(limit),
    env: env === undefined ? undefined : parseEnv(env),
    idle: idle === undefined ? undefined : parseDuration(idle),
    signal,
  })
  await output.answer(box.view, () => sandboxText(box.view))
  if (!output.json) output.note(`next: manyhands sandbox exec ${safeLine(box.name ?? box.id)} -- uname -a`)
}

/** "NAME=value" each. @throws ManyhandsError E_BAD_REQUEST */
export function parseEnv(texts: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    texts.map((text) => {
      const at = text.indexOf('=')
      if (at >= 1) return [text.slice(0, at), text.slice(at + 1)] as const
      throw new ManyhandsError('E_BAD_REQUEST', `"${text}" is not a variable`, { hint: 'Write NAME=value' })
    }),
  )
}

export async function list({ mesh, output }: Context): Promise<undefined> {
  const sandboxes = await (await mesh()).sandboxes.list()
  await output.answer({ sandboxes }, () => sandboxesText(sandboxes, output.io.columns))
}

export async function show({ mesh, output }: Context, id: string): Promise<undefined> {
  const { view } = await (await mesh()).sandboxes.get(id)
  await output.answer(view, () => sandboxText(view))
}

function sandboxesText(sandboxes: readonly SandboxView[], width: number | undefined): string {
  if (sandboxes.length === 0) return 'No sandboxes. Make one with: manyhands sandbox create --name dev'
  return table(
    [
      { title: 'NAME', of: (one: SandboxView) => one.name },
      { title: 'STATE', of: (one) => one.state },
      { title: 'NODE', of: (one) => one.nodeName },
      { title: 'IMAGE', of: (one) => one.image },
      { title: 'ARTIFACT', of: (one) => one.artifact?.name },
      { title: 'GRADE', of: (one) => one.grade },
      { title: 'PROFILE', of: (one) => one.profile },
      { title: 'MEMORY', of: (one) => formatSize(one.limits.memoryBytes), align: 'right' },
      { title: 'ID', of: (one) => one.id, room: 'whole' },
      { title: 'NOTE', of: (one) => one.note },
    ],
    sandboxes,
    width,
  )
}

function sandboxText(view: SandboxView): string {
  const { limits } = view
  const rows: readonly (readonly [string, string | undefined])[] = [
    ['sandbox', view.id],
    ['name', view.name],
    ['state', view.state],
    ['node', `${view.nodeName}  ${view.node}`],
    ['image', `${view.image}  ${view.digest}`],
    ['isolation', `${view.grade}, profile ${view.profile}`],
    [
      'limits',
      `${formatSize(limits.memoryBytes)} memory, ${countOf(limits.cpus, 'CPU')}, ${limits.pids} processes, ${formatSize(limits.diskBytes)} disk, ${limits.inodes} inodes`,
    ],
    ['workspace', `${view.workspace}${view.survivesStop ? '' : ' (in memory)'}`],
    ['agent', view.agent],
    ['artifact', view.artifact && `${view.artifact.name}, ${view.artifact.access}  ${view.artifact.id}`],
    ...view.snapshots.map((one) => ['snapshot', `${one.name}, ${formatSize(one.bytes)}, ${one.createdAt}`] as const),
    ['created', view.createdAt],
    ['note', view.note],
  ]
  return pairs(rows.filter((row): row is readonly [string, string] => row[1] !== undefined))
}

async function find({ mesh }: Context, id: string): Promise<Sandbox> {
  return (await mesh()).sandboxes.get(id)
}

async function answer({ output }: Context, view: SandboxView): Promise<undefined> {
  await output.answer(view, () => `${safeLine(view.name ?? view.id)} ${view.state} on ${safeLine(view.nodeName)}`)
}

export async function snapshot(context: Context, id: string, name: string | undefined): Promise<undefined> {
  const made = await (await find(context, id)).snapshot(name, { signal: context.signal })
  await context.output.answer(made, () => safeLine(made.name))
}

export async function restore(context: Context, id: string, name: string | undefined): Promise<undefined> {
  return answer(context, await (await find(context, id)).restore(name, { signal: context.signal }))
}

export async function fork(
  context: Context,
  id: string,
  name: string | undefined,
  flags: { readonly from?: string },
): Promise<undefined> {
  const box = await find(context, id)
  const made = await box.fork({ ...flags, ...(name === undefined ? {} : { name }), signal: context.signal })
  return answer(context, made.view)
}

export async function move(context: Context, id: string, { to }: { readonly to: string }): Promise<undefined> {
  return answer(context, await (await find(context, id)).move(to, { signal: context.signal }))
}

export async function sleep(context: Context, id: string, flags: { readonly pause?: boolean }): Promise<undefined> {
  const box = await find(context, id)
  return answer(context, await box.sleep(flags.pause ? 'pause' : 'stop', { signal: context.signal }))
}

export async function wake(context: Context, id: string): Promise<undefined> {
  return answer(context, await (await find(context, id)).wake({ signal: context.signal }))
}

export async function remove(context: Context, ids: readonly string[]): Promise<undefined> {
  const { sandboxes } = await context.mesh()
  for (const id of ids) await (await sandboxes.get(id)).remove({ signal: context.signal })
  await context.output.answer({ removed: ids }, () => `removed ${ids.map(safeLine).join(', ')}`)
}

/** Until Ctrl-C, which is how it is meant to end. */
export async function port(
  context: Context,
  id: string,
  text: string,
  flags: { readonly local?: string; readonly wait?: string },
): Promise<number> {
  const { output, signal } = context
  const wanted = parsePort(text)
  const box = await find(context, id)
  if (flags.wait !== undefined) await box.waitForPort(wanted, { timeout: parseDuration(flags.wait), signal })
  await using open = await openLocal(box, wanted, flags.local)
  await output.answer({ port: open.port, url: open.url }, () => `${open.url} is port ${wanted} of ${safeLine(id)}`)
  if (!output.json) output.note('Ctrl-C ends it')
  if (!signal.aborted) await once(signal, 'abort')
  return 0
}

async function openLocal(box: Sandbox, wanted: number, local: string | undefined): Promise<OpenPort> {
  if (local !== undefined) return box.port(wanted, { port: parsePort(local) })
  return box.port(wanted, { port: wanted }).catch(() => box.port(wanted))
}

function parsePort(text: string): number {
  const value = parseCount(text)
  if (value <= 65_535) return value
  throw new ManyhandsError('E_BAD_REQUEST', `"${text}" is not a port`, { hint: 'Write a number up to 65535' })
}
