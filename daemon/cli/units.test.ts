import { describe, expect, it } from 'vitest'
import { formatDuration, formatSize, parseCount, parseDuration, parseLimits, parseSize } from './units.ts'

const refused: unknown = expect.objectContaining({ code: 'E_BAD_REQUEST' })

describe('parseDuration()', () => {
  it.each([
    ['500ms', 500],
    ['5s', 5000],
    ['1.5s', 1500],
    ['2m', 120_000],
    ['1h', 3_600_000],
    ['7d', 604_800_000],
    ['250', 250],
    ['0', 0],
  ])('%s', (text, ms) => expect(parseDuration(text)).toBe(ms))
  it.each(['', 's', '-1s', '5 weeks', '1e3s', '5s5s', 'NaN', '9'.repeat(30)])('refuses %j', (text) =>
    expect(() => parseDuration(text)).toThrow(refused),
  )
})

describe('parseSize()', () => {
  it.each([
    ['4096', 4096],
    ['1k', 1024],
    ['64MB', 64 << 20],
    ['64MiB', 64 << 20],
    ['64m', 64 << 20],
    ['1.5G', 1.5 * 2 ** 30],
    ['10b', 10],
  ])('%s', (text, bytes) => expect(parseSize(text)).toBe(bytes))
  it.each(['', 'MB', '-1', '1TBB', '1 000', '0x10', 'Infinity'])('refuses %j', (text) =>
    expect(() => parseSize(text)).toThrow(refused),
  )
})

describe('parseLimits()', () => {
  it('takes several, in one or more texts', () => {
    expect(parseLimits(['wall=5s,memory=64MB', 'calls=10', 'cpu=1s,output=1k,log=2k,call-bytes=3k'])).toEqual({
      wallMs: 5000,
      memoryBytes: 64 << 20,
      hostCalls: 10,
      cpuMs: 1000,
      outputBytes: 1024,
      logBytes: 2048,
      hostCallBytes: 3072,
    })
    expect(parseLimits([])).toEqual({})
  })
  it.each([
    'wall',
    'speed=1',
    '=1',
    'wall=',
    'memory=fast',
    'wall=1s=5',
    'wall=1s,wall=2s',
    '__proto__=1',
    'calls=1.5',
    'toString=1',
  ])('refuses %j', (text) => expect(() => parseLimits([text])).toThrow(refused))
})

it('parseCount() takes digits alone', () => {
  expect(parseCount('42')).toBe(42)
  for (const text of ['', '-1', '1.0', '1e3', ' ', 'ten']) expect(() => parseCount(text)).toThrow(refused)
})

it('formats for people', () => {
  expect([0.12, 2.5, 42, 1500, 90_000, 7_200_000, 200_000_000].map(formatDuration)).toEqual([
    '0.12 ms',
    '2.5 ms',
    '42 ms',
    '1.5 s',
    '1m 30s',
    '2h 0m',
    '2d 7h',
  ])
  expect([0, 1023, 1024, 64 << 20, 5e12].map(formatSize)).toEqual(['0 B', '1023 B', '1.0 KB', '64 MB', '4.5 TB'])
})
