/** What errors and answers advise to type exists. */
import { readFileSync } from 'node:fs'
import { glob } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { processIo } from '../../daemon/cli/io.ts'
import { buildProgram } from '../../daemon/cli/program.ts'

const root = new URL('../../', import.meta.url)
const ignore = (): void => undefined
const program = buildProgram({ io: processIo(), exit: ignore, help: ignore })

/** Commands in source text: what follows the word in a code span or at the end of advice. */
function commandsIn(text: string): string[] {
  return [...text.matchAll(/(?:[`(]|[,:;] | by | with | && | \| )manyhands ((?:[a-z][a-z-]*)(?: [a-z][a-z-]*)?)/g)].map(
    ([, words = '']) => words,
  )
}

/** A word that is no subcommand is an argument, where the command takes any. */
function exists(words: string): boolean {
  const [first, second] = words.split(' ')
  const command = program.commands.find((one) => one.name() === first)
  if (command === undefined) return false
  if (second === undefined) return true
  if (command.commands.length === 0) return command.registeredArguments.length > 0
  return command.commands.some((one) => one.name() === second)
}

test('every command that errors and answers name is there', async () => {
  const unknown: string[] = []
  let seen = 0
  for await (const file of glob('{daemon,protocol,sdk/src}/**/*.ts', { cwd: root }))
    for (const words of commandsIn(readFileSync(new URL(file, root), 'utf8'))) {
      seen++
      if (!exists(words)) unknown.push(`${file}: manyhands ${words}`)
    }
  expect(unknown).toEqual([])
  expect(seen).toBeGreaterThan(100)
})

test('a command that is not there is found', () => {
  const advice = 'See it with: manyhands artifact fly. Or `manyhands soar`, or `manyhands up`'
  expect(commandsIn(advice).filter((words) => !exists(words))).toEqual(['artifact fly', 'soar'])
})
