/** Entry of the `manyhands` command. */
import { type Command, CommanderError } from 'commander'
import { type Io, Output, processIo } from './io.ts'
import { buildProgram, usageHint } from './program.ts'

/** @param args without node and script. Resolves with the exit code. */
export async function main(args: readonly string[], io: Io = processIo()): Promise<number> {
  let exit = 0
  let help = ''
  const program = buildProgram({
    io,
    exit: (code) => {
      exit = code
    },
    help: (text) => {
      help += text
    },
  })
  try {
    await program.parseAsync(commandOf(args), { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    // Help is an answer; all else commander refuses is wrong usage
    return error.exitCode === 0 ? answerHelp(help, io) : refuse(error, program, args, io)
  }
  return exit
}

async function answerHelp(text: string, io: Io): Promise<number> {
  try {
    await io.writeOut(text)
    return 0
  } catch (error) {
    return tell(error, io, false)
  }
}

async function refuse(error: CommanderError, program: Command, args: readonly string[], io: Io): Promise<number> {
  const { usageFailure, wantsJson } = await import('./usage.ts')
  return tell(usageFailure(error, program, args, usageHint), io, wantsJson(args))
}

async function tell(error: unknown, io: Io, json: boolean): Promise<number> {
  const { tellFailure } = await import('./failure.ts')
  return tellFailure(error, new Output(io, json))
}

/** What is typed without a command means one. */
function commandOf(args: readonly string[]): string[] {
  if (args.length === 0) return ['--help']
  return args[0] === '--version' ? ['version', ...args.slice(1)] : [...args]
}

if (import.meta.main) {
  process.exitCode = await main(process.argv.slice(2))
}
