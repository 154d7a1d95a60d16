import { describe, expect, it } from 'vitest'
import { ManyhandsError } from '../../sdk/src/index.ts'
import { exitOf } from './exit.ts'
import { failureText } from './failure.ts'

describe('failureText()', () => {
  it('says what, where with the source, and what to do', () => {
    const failure = {
      code: 'E_GUEST',
      message: 'no such file',
      name: 'TypeError',
      file: 'a.ts',
      line: 2,
      column: 3,
      frame: '> 2 | x\n    | ^',
    } as const
    const error = new ManyhandsError('E_GUEST', 'no such file', { failure, hint: 'add it', task: 't1' })
    expect(failureText(error)).toBe(
      [
        'error: TypeError: no such file [E_GUEST]',
        '  at a.ts:2:3',
        '',
        '  > 2 | x',
        '      | ^',
        '',
        'hint: add it',
        'task: t1',
      ].join('\n'),
    )
  })

  it('API-11 shows codes where the program put escape sequences', () => {
    const failure = { code: 'E_GUEST', message: '\u001b[2J', name: '\r', file: '\u202e', frame: '\u009b' } as const
    const text = failureText(new ManyhandsError('E_GUEST', '\u001b[2J', { failure, hint: '\u0007', task: '\b' }))
    expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u0080-\u009f\u202e]/)
  })
})

it('exitOf() gives 70 for codes of a newer daemon', () => {
  expect([exitOf('E_GUEST'), exitOf('E_NOT_RUNNING'), exitOf('E_NEW'), exitOf('toString')]).toEqual([1, 69, 70, 70])
})
