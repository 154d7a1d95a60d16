/** The tasks of this node. */
import { ManyhandsError, type TaskKind, type TaskState } from '../../../sdk/src/index.ts'
import { connectionNotes } from '../connection-notes.ts'
import type { Context } from '../context.ts'
import { nodeNames } from '../node-names.ts'
import { safeJson, safeLine } from '../terminal.ts'
import { parseCount } from '../units.ts'
import { explanationText, taskEventText, tasksText, taskText } from '../views.ts'

const STATES: readonly TaskState[] = [
  'submitted',
  'working',
  'input-required',
  'completed',
  'failed',
  'canceled',
  'rejected',
]
const KINDS: readonly TaskKind[] = ['run', 'map', 'session']

export interface ListFlags {
  readonly limit?: string
  readonly state?: string
  readonly kind?: string
  readonly after?: string
}

export async function list({ mesh, output }: Context, flags: ListFlags): Promise<undefined> {
  const limit = flags.limit === undefined ? undefined : parseCount(flags.limit)
  const state = oneOf('state', flags.state, STATES)
  const kind = oneOf('kind', flags.kind, KINDS)
  const node = await mesh()
  const page = await node.tasks.list({ limit, state, kind, after: flags.after })
  const names = output.json ? new Map<string, string>() : await nodeNames(node)
  await output.answer(page, () => tasksText(page.tasks, names, output.io.columns))
  if (!output.json && page.next !== undefined) output.note(`more: --after ${safeLine(page.next)}`)
}

export async function show({ mesh, output }: Context, id: string): Promise<undefined> {
  const node = await mesh()
  const task = await node.tasks.get(id)
  const names = output.json ? new Map<string, string>() : await nodeNames(node)
  await output.answer(task, () => taskText(task, names))
}

/** Prints events to the end; Ctrl-C stops the watching, not the task. Exit code 1 when the task did not complete. */
export async function watch({ mesh, output, signal }: Context, id: string): Promise<number> {
  const node = await mesh()
  const names = output.json ? new Map<string, string>() : await nodeNames(node)
  try {
    for await (const event of node.tasks.watch(id, { signal, ...connectionNotes(output) })) {
      if (output.json) await output.jsonLine(event)
      else await output.line(taskEventText(event, names))
      if (event.type === 'end') return event.task.state === 'completed' ? 0 : 1
    }
  } catch (error) {
    if (!signal.aborted) throw error
  }
  return 0
}

export async function cancel({ mesh, output }: Context, id: string): Promise<undefined> {
  const task = await (await mesh()).tasks.cancel(id)
  await output.answer(task, () => `${safeLine(task.id)} ${task.state}`)
}

export async function explain({ mesh, output }: Context, id: string): Promise<undefined> {
  const explanation = await (await mesh()).tasks.explain(id)
  await output.answer(explanation, () => explanationText(explanation, output.io.columns))
}

/** Always JSON: made to be kept in a file and checked by `receipt verify`. */
export async function receipts({ mesh, output }: Context, id: string): Promise<undefined> {
  const list = await (await mesh()).tasks.receipts(id)
  await output.jsonLine({ task: id, receipts: list })
}

export interface ResultFlags {
  readonly from?: string
  readonly limit?: string
}

/** One line for each result; null for what has not ended. With --json the page as it is. */
export async function results({ mesh, output }: Context, id: string, flags: ResultFlags): Promise<undefined> {
  const from = flags.from === undefined ? 0 : parseCount(flags.from)
  const limit = flags.limit === undefined ? undefined : parseCount(flags.limit)
  const page = await (await mesh()).tasks.results(id, from, limit)
  if (output.json) return output.jsonLine(page).then(() => undefined)
  for (const item of page.items) await output.line(safeJson(item))
  if (!page.complete) output.note('not complete yet')
}

function oneOf<T extends string>(what: string, value: string | undefined, allowed: readonly T[]): T | undefined {
  const found = allowed.find((one) => one === value)
  if (value === undefined || found !== undefined) return found
  throw new ManyhandsError('E_BAD_REQUEST', `Cannot list by ${what} "${value}"`, {
    hint: `One of: ${allowed.join(', ')}`,
  })
}
