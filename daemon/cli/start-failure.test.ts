import { describe, expect, it } from 'vitest'
import { startFailure } from './start-failure.ts'

const LIMIT = 60_000

describe('startFailure()', () => {
  it('is what the daemon told itself, not its own telling wrapped in another', () => {
    const error = { code: 'E_CONFIG', message: 'Cannot read it: there is none', hint: 'Check it', details: { a: 1 } }
    const log = `error: Cannot read it: there is none [E_CONFIG]\nhint: Check it\n${JSON.stringify({ error })}\n`
    expect(startFailure(log, 78, LIMIT)).toMatchObject(error)
    const bare = JSON.stringify({ error: { code: 'E_CONFIG', message: 'no' } })
    expect(startFailure(bare, 78, LIMIT).hint).toBe('Run it in the foreground to see more: manyhands up')
  })

  it('is the end of what the runtime wrote when the daemon told nothing', () => {
    expect(startFailure('Error: Cannot find module\n', 78, LIMIT)).toMatchObject({
      code: 'E_NOT_RUNNING',
      message: 'Cannot start the daemon: it ended while starting\nError: Cannot find module',
    })
    expect(startFailure('{"error":{"code":"E_MADE_UP","message":"x"}}\n{"error":', 78, LIMIT).code).toBe(
      'E_NOT_RUNNING',
    )
  })

  it('is the disk when not even a reason could be written', () => {
    expect(startFailure('', 74, LIMIT)).toMatchObject({
      code: 'E_STORAGE',
      hint: expect.stringContaining('Free space') as unknown,
    })
    expect(startFailure('', null, LIMIT).code).toBe('E_NOT_RUNNING')
  })

  it('names no cause for a daemon that started and does not answer', () => {
    expect(startFailure('{"name":"a"}\n', undefined, LIMIT)).toMatchObject({
      code: 'E_NOT_RUNNING',
      message: 'Cannot start the daemon: it does not answer after 60 s',
    })
  })
})
