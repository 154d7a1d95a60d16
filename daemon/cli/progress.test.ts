import { describe, expect, it } from 'vitest'
import { silentIo } from '../../test/support/cli-context.ts'
import type { Io } from './io.ts'
import { ProgressLine, progressText } from './progress.ts'

const progress = { total: 5000, done: 1200, failed: 3, retried: 1, byNode: { a: 700, bcdefghij: 500 } }

it('progressText() counts by node', () => {
  expect(progressText(progress, new Map([['a', 'lab\u001b']]))).toBe(
    '1,200/5,000  24%  3 failed  1 retried  lab\\x1b:700 efghij:500',
  )
  expect(progressText({ total: 0, done: 0, failed: 0, retried: 0, byNode: {} }, new Map())).toBe('0/0  0%  ')
})

describe('ProgressLine', () => {
  const io = (interactive: boolean, written: string[]): Io => ({
    ...silentIo,
    writeErr: (text) => written.push(text),
    columns: 10,
    interactive,
  })

  it('draws one line again and again, within the terminal, and clears it', () => {
    const written: string[] = []
    const line = new ProgressLine(io(true, written))
    line.show('a'.repeat(50))
    line.show('dropped: too soon after the last')
    line.clear()
    line.clear()
    expect(written).toEqual([`\r\u001b[2K${'a'.repeat(8)}…`, '\r\u001b[2K'])
  })

  it('says nothing where nobody watches', () => {
    const written: string[] = []
    const line = new ProgressLine(io(false, written))
    line.show('x')
    line.clear()
    expect(written).toEqual([])
  })

  it('writes a plain line now and then into a log of what takes long', () => {
    const written: string[] = []
    const line = new ProgressLine(io(false, written), 3_600_000)
    line.show('first, and longer than a terminal is wide')
    line.show('dropped: within the hour')
    line.clear()
    expect(written).toEqual(['first, and longer than a terminal is wide\n'])
  })
})
