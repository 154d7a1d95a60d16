/** What a bench prints is read strictly, and a bar is kept or missed by its numbers. */
import { expect, test } from 'vitest'
import { meetsBars, parseResult } from '../../scripts/bench/result.ts'
import { table } from '../../scripts/bench/table.ts'

test('a result line is read, other output is not', () => {
  expect(parseResult('{"what":"a","value":1.5,"unit":"ms"}')).toEqual({ what: 'a', value: 1.5, unit: 'ms' })
  expect(parseResult('warming up')).toBeUndefined()
})

test.each([
  '{"what":"a","value":"1","unit":"ms"}',
  '{"what":"a","value":1,"unit":"ms","barr":"<= 2"}',
  '{"what":"a","value":1,"unit":"ms","bar":"about 2"}',
])('a malformed result is an error: %s', (line) => {
  expect(() => parseResult(line)).toThrow('Cannot read a bench result')
})

test.each([
  [{ value: 2, bar: '<= 2' }, true],
  [{ value: 2.01, bar: '<= 2' }, false],
  [{ value: 900, bar: '>= 900' }, true],
  [{ value: 899, bar: '>= 900' }, false],
  [{ value: 1, ratio: 2.9, ratioBar: '>= 3' }, false],
  [{ value: 1, ratioBar: '>= 3' }, false],
  [{ value: 1 }, true],
])('%j meets its bars: %s', (numbers, expected) => {
  expect(meetsBars({ what: 'a', unit: 'ms', ...numbers })).toBe(expected)
})

test('the table shows value, bar, verdict and ratio', () => {
  const text = table([
    {
      what: 'run once',
      value: 1.234,
      unit: 'ms',
      bar: '<= 1',
      against: 'rival',
      rival: 6,
      ratio: 4.86,
      ratioBar: '>= 3',
    },
  ])
  expect(text.split('\n')[1]).toBe('run once  1.23 ms  <= 1  MISSED  rival 6  4.86x (>= 3)')
})
