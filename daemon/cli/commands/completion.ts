import { ManyhandsError } from '../../../sdk/src/index.ts'
import { completionScript, type Shell } from '../completion-script.ts'
import type { Context } from '../context.ts'
import { buildProgram } from '../program.ts'

const SHELLS: readonly Shell[] = ['bash', 'zsh', 'fish']

/** Prints the script that completes the whole command tree. */
export async function completion({ output }: Context, name: string): Promise<undefined> {
  const shell = SHELLS.find((one) => one === name)
  if (!shell)
    throw new ManyhandsError('E_BAD_REQUEST', `Cannot complete for "${name}"`, { hint: `One of: ${SHELLS.join(', ')}` })
  const script = completionScript(
    buildProgram(output.io, () => undefined),
    shell,
  )
  await output.answer({ shell, script }, () => script.trimEnd())
}
