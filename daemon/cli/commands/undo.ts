/** Takes back what a task changed in artifacts. */
import { undoText } from '../artifact-views.ts'
import type { Context } from '../context.ts'

/** Exit code 1 when something refused, and so nothing was undone. */
export async function undo(
  { mesh, output }: Context,
  task: string,
  flags: { readonly dryRun?: boolean },
): Promise<number> {
  const dryRun = flags.dryRun === true
  const view = await (await mesh()).tasks.undo(task, { dryRun })
  await output.answer(view, () => undoText(view, dryRun))
  const refused = view.artifacts.some((one) => one.refused !== undefined)
  return refused ? 1 : 0
}
