import { describe, expect, it } from 'vitest'
import { verdict } from './end-verdict.ts'

const none = { oomKills: 2, pidsRefused: 3, diskFull: false }
const killed = { kind: 'signal', number: 9 } as const
const failed = { kind: 'exit', code: 1 } as const

describe('why a command ended', () => {
  it('is what was asked for, if anything was', () => {
    expect(verdict(killed, 'timeout', none, { ...none, oomKills: 9 })).toEqual({ kind: 'timeout' })
  })

  it('is a limit when a counter moved meanwhile', () => {
    expect(verdict(killed, undefined, none, { ...none, oomKills: 3 })).toEqual({ kind: 'memory' })
    expect(verdict({ kind: 'exit', code: 137 }, undefined, none, { ...none, oomKills: 3 })).toEqual({
      kind: 'memory',
      code: 137,
    })
    expect(verdict(failed, undefined, none, { ...none, pidsRefused: 4 })).toEqual({ kind: 'pids', code: 1 })
    expect(verdict(failed, undefined, none, { ...none, diskFull: true })).toEqual({ kind: 'disk', code: 1 })
  })

  it('is its own otherwise', () => {
    expect(verdict(killed, undefined, none, none)).toEqual({ kind: 'signal', signal: 'SIGKILL' })
    expect(verdict(failed, undefined, undefined, undefined)).toEqual(failed)
    expect(verdict({ kind: 'exit', code: 0 }, undefined, none, { ...none, diskFull: true })).toEqual({
      kind: 'exit',
      code: 0,
    })
    expect(verdict({ kind: 'signal', number: 40 }, undefined, none, none)).toEqual({ kind: 'signal', signal: 'SIG40' })
  })
})
