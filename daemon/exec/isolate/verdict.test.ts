import { describe, expect, it } from 'vitest'
import { classify, type Evidence, type HostDeath, neighbourVerdict, verdict } from './verdict.ts'

const death = (signal?: string, stderr = '', how: HostDeath['how'] = 'exit'): HostDeath => ({ how, signal, stderr })
const code = (evidence: Evidence): string => {
  const found = verdict(evidence)
  return found.kind === 'failed' ? found.error.code : `again${found.solo ? ' solo' : ''}`
}

describe('verdict', () => {
  const rows: readonly [what: string, evidence: Evidence, expected: string][] = [
    [
      'a cause, whatever else was seen',
      { cause: 'deadline', accused: 'memory', death: death('SIGABRT') },
      'E_DEADLINE',
    ],
    ['CPU', { cause: 'cpu' }, 'E_CPU'],
    ['cancellation', { cause: 'canceled', death: death('SIGKILL') }, 'E_CANCELED'],
    ['shutdown', { cause: 'closing' }, 'E_EXECUTOR_LOST'],
    [
      'a buffer that was refused',
      { reported: { code: 'E_GUEST', name: 'RangeError', message: 'Array buffer allocation failed' } },
      'E_MEMORY',
    ],
    ['a broken isolate', { accused: 'memory', death: death('SIGKILL') }, 'E_MEMORY'],
    ['a guest that broke out', { accused: 'abuse', death: death('SIGKILL'), repeatable: true }, 'E_EXECUTOR_LOST'],
    ['an abort, alone', { death: death('SIGABRT'), alone: true }, 'E_MEMORY'],
    ['a trap, alone', { death: death('SIGTRAP'), alone: true }, 'E_MEMORY'],
    [
      'last words about memory, alone',
      { death: death(undefined, 'FATAL ERROR: Reached heap limit - JavaScript heap out of memory'), alone: true },
      'E_MEMORY',
    ],
    [
      'killed from outside near its limit',
      { death: death('SIGKILL'), alone: true, grownBytes: 95, memoryBytes: 100 },
      'E_MEMORY',
    ],
    [
      'killed from outside, small',
      { death: death('SIGKILL'), alone: true, grownBytes: 10, memoryBytes: 100, repeatable: true },
      'E_EXECUTOR_LOST',
    ],
    [
      'hung, alone',
      { death: death('SIGKILL', '', 'hung'), alone: true, grownBytes: 99, memoryBytes: 100 },
      'E_EXECUTOR_LOST',
    ],
    ['a violation, alone', { death: death('SIGKILL', '', 'violation'), alone: true }, 'E_EXECUTOR_LOST'],
    ['one of several, nothing seen outside', { death: death('SIGABRT'), alone: false, repeatable: true }, 'again solo'],
    [
      'one of several that made a host call',
      { death: death('SIGABRT'), alone: false, repeatable: false },
      'E_EXECUTOR_LOST',
    ],
  ]
  for (const [what, evidence, expected] of rows) it(`for ${what}`, () => expect(code(evidence)).toBe(expected))

  it('sends the neighbours of a guilty job on, and not the guilty one', () => {
    expect(neighbourVerdict({ death: death('SIGKILL'), repeatable: true })).toEqual({ kind: 'again', solo: false })
    expect(neighbourVerdict({ death: death('SIGKILL'), repeatable: false })).toMatchObject({
      error: { code: 'E_EXECUTOR_LOST' },
    })
    expect(neighbourVerdict({ cause: 'cpu', death: death('SIGKILL'), repeatable: true })).toMatchObject({
      error: { code: 'E_CPU' },
    })
  })

  it('keeps the position of a memory failure and leaves other failures alone', () => {
    const where = { file: 'a.js', line: 3, column: 1 }
    const refused = {
      code: 'E_GUEST' as const,
      name: 'RangeError',
      message: 'Array buffer allocation failed',
      ...where,
    }
    expect(classify(refused)).toMatchObject({
      code: 'E_MEMORY',
      ...where,
      hint: 'Hold less data at once, or raise limits.memoryBytes.',
    })
    const other = { code: 'E_GUEST' as const, name: 'RangeError', message: 'Invalid array length' }
    expect(classify(other)).toEqual(other)
  })
})
