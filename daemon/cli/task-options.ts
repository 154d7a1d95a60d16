/** The options that `run` and `map` share. */
import type { LimitsInput, LoadedProgram, ProgramInput, RequiresInput } from '../../sdk/src/index.ts'
import { loadProgram, ManyhandsError } from '../../sdk/src/index.ts'
import { readText } from './inputs.ts'
import type { Context } from './context.ts'
import { parseDuration, parseLimits } from './units.ts'

export interface TaskFlags {
  readonly on?: string
  readonly grade?: string
  readonly capability?: string
  readonly label?: string[]
  readonly limit?: string[]
  readonly deadline?: string
  readonly name?: string
  readonly key?: string
}

const GRADES = ['process', 'jailed', 'gvisor', 'microvm'] as const

interface CommonOptions {
  readonly limits: LimitsInput
  readonly requires: RequiresInput
  readonly deadlineMs: number | undefined
  readonly name: string | undefined
  readonly key: string | undefined
}

/** @throws ManyhandsError E_BAD_REQUEST */
export function commonOptions(flags: TaskFlags): CommonOptions {
  const grade = GRADES.find((one) => one === flags.grade)
  if (flags.grade !== undefined && grade === undefined) {
    throw new ManyhandsError('E_BAD_REQUEST', `Cannot ask for grade "${flags.grade}"`, {
      hint: `One of: ${GRADES.join(', ')}`,
    })
  }
  const { on, capability, label } = flags
  return {
    limits: parseLimits(flags.limit ?? []),
    requires: {
      ...(on === undefined ? {} : { on }),
      ...(capability === undefined ? {} : { capability }),
      ...(label === undefined ? {} : { labels: label }),
      ...(grade === undefined ? {} : { grade }),
    },
    deadlineMs: flags.deadline === undefined ? undefined : parseDuration(flags.deadline),
    name: flags.name,
    key: flags.key,
  }
}

/** "-" reads the program from standard input, as TypeScript. */
export async function readProgram(
  file: string,
  context: Pick<Context, 'output' | 'signal'>,
): Promise<LoadedProgram | ProgramInput> {
  return file === '-' ? loadProgram('stdin.ts', { source: await readText('-', context) }) : loadProgram(file)
}
