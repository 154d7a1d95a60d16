import type { Command } from 'commander'
import { ManyhandsError } from '../../../sdk/src/index.ts'
import { completionScript, type Shell } from '../completion-script.ts'
import type { Context } from '../context.ts'

const SHELLS: readonly Shell[] = ['bash', 'zsh', 'fish']

/** Prints the script that completes the command tree. */
export async function completion({ output }: Context, tree: Command, name: string): Promise<undefined> {
  const shell = SHELLS.find((one) => one === name)
  if (!shell)
    throw new ManyhandsError('E_BAD_REQUEST', `Cannot complete for "${name}"`, { hint: `One of: ${SHELLS.join(', ')}` })
  const script = completionScript(tree, shell)
  await output.answer({ shell, script }, () => script.trimEnd())
}
