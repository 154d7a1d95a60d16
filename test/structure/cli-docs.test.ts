/** docs/CLI.md and the command tree say the same. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { processIo } from '../../daemon/cli/io.ts'
import { buildProgram } from '../../daemon/cli/program.ts'
import { commandReference, leavesOf, REFERENCE_MARK } from '../../daemon/cli/reference.ts'

const ignore = (): void => undefined
const program = buildProgram({ io: processIo(), exit: ignore, help: ignore })
const leaves = leavesOf(program, [])
const document = readFileSync(new URL('../../docs/CLI.md', import.meta.url), 'utf8')
const [written = '', reference = ''] = document.split(REFERENCE_MARK)

/** Long options in text that is no transcript, of which some are Git's or a shell's. */
function optionsIn(text: string): string[] {
  const prose = text.replaceAll(/^```[^]*?^```$/gm, '')
  return [...new Set([...prose.matchAll(/(?<![\w-])--[a-z][a-z-]*/g)].map(([option]) => option))]
}

describe('docs/CLI.md', () => {
  test('ends with what npm run docs writes: every command with every option of its --help', () => {
    expect(REFERENCE_MARK + reference).toBe(commandReference(program))
  })

  test('the reference misses none', () => {
    for (const { path, command } of leaves) {
      expect(reference).toContain(`| \`${path.join(' ')}`)
      for (const { long } of command.options) if (long !== '--json') expect(reference, path.join(' ')).toContain(long)
    }
    expect(leaves.length).toBeGreaterThan(60)
  })

  test('what is written by hand names only options that there are', () => {
    const there = new Set([
      '--help',
      '--version',
      ...leaves.flatMap(({ command }) => command.options.map(({ long }) => long)),
    ])
    expect(optionsIn(written).filter((option) => !there.has(option))).toEqual([])
    expect(optionsIn('`run --fly` and\n```\n--never\n```\n')).toEqual(['--fly'])
  })
})
