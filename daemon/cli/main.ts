/** Entry of the `manyhands` command. */
import { CommanderError } from 'commander'
import { EXIT_USAGE } from './exit.ts'
import { type Io, Output, processIo } from './io.ts'
import { buildProgram } from './program.ts'

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
    return error.exitCode === 0 ? await answerHelp(help, io) : EXIT_USAGE
  }
  return exit
}

async function answerHelp(text: string, io: Io): Promise<number> {
  try {
    await io.writeOut(text)
    return 0
  } catch (error) {
    const { tellFailure } = await import('./failure.ts')
    return tellFailure(error, new Output(io, false))
  }
}

/** What is typed without a command means one. */
function commandOf(args: readonly string[]): string[] {
  if (args.length === 0) return ['--help']
  return args[0] === '--version' ? ['version', ...args.slice(1)] : [...args]
}

if (import.meta.main) {
  process.exitCode = await main(process.argv.slice(2))
}
