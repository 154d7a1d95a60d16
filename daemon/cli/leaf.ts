/** One command as the tree describes it. Its code is loaded when it runs. */
import type { Context } from './context.ts'

export interface Leaf {
  readonly usage: string
  readonly about: string
  /** `!` before the flags: it must be given; `+` after them: it may be given again, one value each, and what follows is an argument */
  readonly options?: readonly (readonly [flags: string, about: string, choices?: readonly string[]])[]
  /** With --json it prints one object a line, as they come */
  readonly stream?: true
  readonly examples?: readonly string[]
  /** What to do when it is typed wrongly, where the help does not say it best */
  readonly usageHint?: string
  /** What follows the first argument is not ours: the words of a command to be run elsewhere */
  readonly passThrough?: boolean
  /** `args` are the positional arguments as typed */
  readonly run: (
    context: Context,
    args: readonly string[],
    flags: Readonly<Record<string, unknown>>,
  ) => Promise<number | undefined>
}
