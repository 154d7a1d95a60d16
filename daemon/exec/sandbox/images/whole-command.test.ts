import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { runWhole, wholeArguments } from './whole-command.ts'

const usual = { action: 'do it', timeoutMs: 20_000 }
const root = process.geteuid?.() === 0

/** Numbers of the processes of this host with a word in their command line */
function withWord(word: string): string[] {
  return readdirSync('/proc').filter((name) => {
    try {
      return /^\d+$/.test(name) && readFileSync(`/proc/${name}/cmdline`, 'latin1').includes(word)
    } catch {
      return false
    }
  })
}

describe('a command as a whole', () => {
  it('is started in namespaces of its own, and in its root when it has one', () => {
    expect(wholeArguments({ argv: ['a', '--x'] })).toEqual([
      ...['--mount', '--pid', '--fork', '--kill-child', '--mount-proc', '--', 'a', '--x'],
    ])
    expect(wholeArguments({ argv: ['a'], root: '/r' })).toContain('--root=/r')
  })

  it.runIf(root)('gives its lines, and of a failure the line that tells of it, without the hidden folder', async () => {
    const lines: string[] = []
    const script = 'echo one; echo "E: no /hid/den/x" >&2; sleep 0.1; echo "W: see /hid/den/log"; exit 7'
    const line = (text: string): void => void lines.push(text)
    const failed = runWhole({ ...usual, argv: ['sh', '-c', script], hidden: '/hid/den', line })
    await expect(failed).rejects.toThrow('Cannot do it: it ended with 7: E: no /x')
    expect(lines.sort()).toEqual(['E: no /x', 'W: see /log', 'one'])
  })

  it.runIf(root)('ends with everything it started, by the signal or by its time', async () => {
    const word = `3${process.pid}.25`
    const argv = ['sh', '-c', `(setsid sh -c "trap '' TERM; sleep ${word}" &) ; echo up; sleep ${word}`]
    const stop = new AbortController()
    const canceled = runWhole({ ...usual, argv, signal: stop.signal, line: () => stop.abort() })
    await expect(canceled).rejects.toMatchObject({ code: 'E_CANCELED' })
    expect(withWord(word)).toEqual([])
    await expect(runWhole({ ...usual, argv, timeoutMs: 300 })).rejects.toThrow('more than 300 ms')
    expect(withWord(word)).toEqual([])
  })
})
