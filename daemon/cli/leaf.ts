/** A command: what it is called, what it takes, what it does. */
import type { Context } from './context.ts'

export interface Leaf {
  readonly usage: string
  readonly about: string
  readonly options?: readonly (readonly [flags: string, about: string, choices?: readonly string[]])[]
  readonly examples?: readonly string[]
  /** `args` are the positional arguments as typed */
  readonly run: (
    context: Context,
    args: readonly string[],
    flags: Readonly<Record<string, unknown>>,
  ) => Promise<number | undefined>
}
