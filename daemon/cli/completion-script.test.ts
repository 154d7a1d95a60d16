import { execFileSync, spawnSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { silentIo } from '../../test/support/cli-context.ts'
import { completionScript } from './completion-script.ts'
import { buildProgram } from './program.ts'

const program = buildProgram({ io: silentIo, exit: () => undefined, help: () => undefined })

/** What bash offers after the given words, the last of which is unfinished. */
function offered(...words: string[]): string[] {
  const line = ['manyhands', ...words]
  const script = `${completionScript(program, 'bash')}
COMP_WORDS=(${line.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${line.length - 1}; _manyhands; printf '%s\\n' "\${COMPREPLY[@]}"`
  return execFileSync('bash', ['-c', script], { encoding: 'utf8' }).trim().split('\n').filter(Boolean)
}

describe('completionScript()', () => {
  it('holds every command and option of the tree', () => {
    expect(completionScript(program, 'bash').match(/^ {4}".*$/gm)).toMatchSnapshot()
  })

  it('offers commands, then subcommands, then options', () => {
    expect(offered('pe')).toEqual(['peers'])
    expect(offered('task', 'w')).toEqual(['watch'])
    expect(offered('run', 'file.ts', '--li')).toEqual(['--limit'])
    expect(offered('map', '--inputs', 'x', '--prog')).toEqual(['--progress'])
    expect(offered('receipt', '')).toContain('verify')
  })

  it('offers the values of an option after it, and leaves the others to the shell', () => {
    expect(offered('run', 'file.ts', '--grade', '')).toEqual(['process', 'jailed', 'gvisor', 'microvm'])
    expect(offered('artifact', 'token', 'create', 'notes', '--access', 'r')).toEqual(['read'])
    expect(offered('run', 'file.ts', '--input', '')).toEqual([])
    expect(offered('run', 'file.ts', '--detach', '--inp')).toEqual(['--input', '--input-json'])
    expect(completionScript(program, 'fish')).toContain(`"run"' -l grade -x -a 'process jailed gvisor microvm' -d`)
    expect(completionScript(program, 'fish')).toContain(`"run"' -l input -r -d`)
  })

  it.each(['zsh', 'fish'] as const)('is a script %s accepts', (shell) => {
    const script = completionScript(program, shell)
    expect(script).toContain('capabilities')
    const checked = spawnSync(shell, ['-n'], { input: script })
    // Where the shell is not installed there is nothing to ask
    if (checked.error === undefined) expect(checked.status, String(checked.stderr)).toBe(0)
  })
})
