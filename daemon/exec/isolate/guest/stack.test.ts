import { expect, test } from 'vitest'
import { guestFrames } from './stack.ts'

const NAMES = new Set(['main.ts', 'lib/util.js'])

test('keeps the frames of the program in order, and drops all others', () => {
  const stack = [
    'Error: at main.ts:9:9',
    '    at f (lib/util.js:2:3)',
    '    at async Promise.all (index 0)',
    '    at new Thing (main.ts:4:5)',
    '    at async default (main.ts:10:1)',
    '    at main.ts:11:2',
    '    at ue (manyhands:prelude:1:3)',
    '    at eval (eval at x (main.ts:1:1), <anonymous>:1:1)',
    '    at (<isolated-vm boundary>)',
    '    at file:///usr/lib/host.ts:1:2',
    '    at g (/etc/passwd:1:2)',
  ].join('\n')
  expect(guestFrames(stack, NAMES).map(({ text }) => text)).toEqual([
    '    at f (lib/util.js:2:3)',
    '    at new Thing (main.ts:4:5)',
    '    at default (main.ts:10:1)',
    '    at main.ts:11:2',
  ])
  expect(guestFrames(stack, NAMES)[0]).toMatchObject({ file: 'lib/util.js', line: 2, column: 3 })
})

test('leaves out function names that hold more than a name', () => {
  expect(guestFrames('    at /root/secret \x1b[2J (main.ts:1:2)', NAMES).map(({ text }) => text)).toEqual([
    '    at main.ts:1:2',
  ])
})

test('is bounded', () => {
  const many = Array.from({ length: 10_000 }, (_, i) => `    at f (main.ts:${i + 1}:1)`).join('\n')
  expect(guestFrames(many, NAMES)).toHaveLength(20)
  expect(guestFrames(`    at ${'('.repeat(60_000)}`, NAMES)).toEqual([])
  expect(guestFrames(`    at ${' ('.repeat(30_000)}`, NAMES)).toEqual([])
})
