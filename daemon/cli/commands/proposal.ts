/** Proposals: to merge one branch of an artifact into another, with their review. */
import { ManyhandsError, type Proposal, type ProposalView } from '../../../sdk/src/index.ts'
import { proposalsText, proposalText } from '../artifact-views.ts'
import type { Context } from '../context.ts'
import { safeLine } from '../terminal.ts'
import { parseCount } from '../units.ts'
import { chosen } from '../words.ts'

export interface ProposeFlags {
  readonly from?: string
  readonly into?: string
  readonly title?: string
  readonly text?: string
}

export async function propose({ mesh, output }: Context, artifact: string, flags: ProposeFlags): Promise<undefined> {
  const { from = '', into, title, text } = flags
  const made = await (await (await mesh()).artifact(artifact)).propose({
    from,
    ...(into === undefined ? {} : { into }),
    ...(title === undefined ? {} : { title }),
    ...(text === undefined ? {} : { text }),
  })
  await output.answer(made.view, () => safeLine(made.id))
}

export interface ListFlags {
  readonly state?: string
  readonly limit?: string
  readonly after?: string
}

export async function list({ mesh, output }: Context, artifact: string, flags: ListFlags): Promise<undefined> {
  const state = chosen('state', flags.state, ['open', 'merged', 'closed'])
  const page = await (await (await mesh()).artifact(artifact)).proposals.list({
    ...(state === undefined ? {} : { state }),
    ...(flags.limit === undefined ? {} : { limit: parseCount(flags.limit) }),
    ...(flags.after === undefined ? {} : { after: flags.after }),
  })
  await output.answer(page, () => proposalsText(page.proposals, output.io.columns))
  if (!output.json && page.next !== undefined) output.note(`more: --after ${safeLine(page.next)}`)
}

export async function show(context: Context, artifact: string, id: string): Promise<undefined> {
  const { view } = await find(context, artifact, id)
  await context.output.answer(view, () => proposalText(view))
}

export async function comment(context: Context, artifact: string, id: string, text: string): Promise<undefined> {
  return tell(context, await (await find(context, artifact, id)).comment(text))
}

export interface CheckFlags {
  readonly name?: string
  readonly result?: string
  readonly text?: string
}

export async function check(context: Context, artifact: string, id: string, flags: CheckFlags): Promise<undefined> {
  const result = chosen('result', flags.result, ['pass', 'fail'])
  if (result === undefined || flags.name === undefined)
    throw new ManyhandsError('E_BAD_REQUEST', 'Cannot add a check: --name and --result are wanted')
  const proposal = await find(context, artifact, id)
  return tell(context, await proposal.check({ name: flags.name, result, ...textOf(flags) }))
}

interface ActFlags {
  readonly text?: string
}

export async function approve(context: Context, artifact: string, id: string, flags: ActFlags): Promise<undefined> {
  const { mesh, output } = context
  const view = await (await find(context, artifact, id)).approve(textOf(flags))
  const { id: self } = await (await mesh()).status()
  const counts = view.approvals.some(({ node }) => node === self)
  if (!counts && !output.json) output.note("this approval does not count: an author's own never does")
  return tell(context, view)
}

export async function merge(context: Context, artifact: string, id: string, flags: ActFlags): Promise<undefined> {
  return tell(context, await (await find(context, artifact, id)).merge(textOf(flags)))
}

export async function close(context: Context, artifact: string, id: string, flags: ActFlags): Promise<undefined> {
  return tell(context, await (await find(context, artifact, id)).close(textOf(flags)))
}

function textOf({ text }: ActFlags): { readonly text?: string } {
  return text === undefined ? {} : { text }
}

async function find({ mesh }: Context, artifact: string, id: string): Promise<Proposal> {
  return (await (await mesh()).artifact(artifact)).proposals.get(id)
}

async function tell({ output }: Context, view: ProposalView): Promise<undefined> {
  await output.answer(view, () => proposalText(view))
}
