import { expect, test } from 'vitest'
import { filesOf } from './task-output.ts'

test('a file may have any name that an object of JSON can have', () => {
  const value: unknown = JSON.parse('{"files": {"__proto__": "x", "constructor": "y", "1": null}}')
  expect(filesOf(value)).toEqual({
    files: [
      { path: '1', remove: true },
      { path: '__proto__', text: 'x' },
      { path: 'constructor', text: 'y' },
    ],
  })
})

test('text that no file can hold is refused, not changed', () => {
  expect(filesOf({ files: { a: '\ud800' } })).toContain('files.a')
})

test.each([undefined, null, 'x', {}, { files: null }, { files: ['x'] }, { files: {} }, { files: { '': 'x' } }])(
  'gives a sentence for %j',
  (value) => expect(filesOf(value)).toBeTypeOf('string'),
)
