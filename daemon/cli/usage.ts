/** Wrong usage as the one failure it is: what is wrong with the words that were typed, and where the help is. Pure. */
import type { Command, CommanderError } from 'commander'
import { ManyhandsError } from '../../sdk/src/index.ts'

/** @param hintOf what to do for a command by its path, where the help does not say it best */
export function usageFailure(
  error: CommanderError,
  program: Command,
  args: readonly string[],
  hintOf: (path: string) => string | undefined,
): ManyhandsError {
  const { command, path } = commandIn(program, args)
  const incomplete =
    error.code === 'commander.help' || (command.commands.length > 0 && error.message.includes("'--json'"))
  const what = incomplete ? wantedAfter(command, path) : withoutValues(error.message)
  return new ManyhandsError('E_BAD_REQUEST', `Cannot read the command line: ${what}`, {
    hint: hintOf(path.join(' ')) ?? `See: ${['manyhands', ...path, '--help'].join(' ')}`,
  })
}

/** Whether the failure is wanted as JSON too. What follows "--" is not ours. */
export function wantsJson(args: readonly string[]): boolean {
  const end = args.indexOf('--')
  return (end < 0 ? args : args.slice(0, end)).includes('--json')
}

/** The command that the first words name. */
function commandIn(program: Command, args: readonly string[]): { command: Command; path: readonly string[] } {
  let command = program
  const path: string[] = []
  for (const word of args) {
    const child = command.commands.find((one) => one.name() === word)
    if (!child || word === 'help') break
    command = child
    path.push(word)
  }
  return { command, path }
}

function wantedAfter(command: Command, path: readonly string[]): string {
  const names = command.commands.map((child) => child.name()).filter((name) => name !== 'help')
  return `after "${['manyhands', ...path].join(' ')}" one of these is wanted: ${names.join(', ')}`
}

/** Words that nobody asked for may be a secret, and messages end up in logs. */
function withoutValues(message: string): string {
  return message
    .replace(/^error: /, '')
    .replace(/( but got \d+): [^]*$/, '$1')
    .replace(/^(unknown option '[^'=]*)=[^]*'/, "$1'")
    .replace(/\n\(Did you mean (.*)\)$/, '; did you mean $1')
    .replace(/\.$/, '')
}
