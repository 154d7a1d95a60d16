import { describe, expect, it } from 'vitest'
import { LastEnd } from './last-end.ts'

const killed = { gvisor: true, outOfMemory: false, code: 137 }

describe('the reason of an end', () => {
  it('is what the container says', () => {
    const end = new LastEnd()
    expect(end.reason).toBeUndefined()
    end.died({ ...killed, outOfMemory: true })
    expect(end.reason).toBe('memory')
    end.begin()
    end.died({ ...killed, code: 2 })
    expect(end.reason).toBe('pids')
    end.begin()
    end.died({ gvisor: false, outOfMemory: false, code: 2 })
    expect(end.reason).toBe('exit')
  })

  it('SBX-02: is memory whether the kernel is heard before the end or after it', () => {
    const before = new LastEnd()
    before.memoryRanOut()
    before.died(killed)
    expect(before.reason).toBe('memory')
    const after = new LastEnd()
    after.died(killed)
    expect(after.reason).toBe('exit')
    after.memoryRanOut()
    expect(after.reason).toBe('memory')
  })

  it('is of the last life alone', () => {
    const end = new LastEnd()
    end.memoryRanOut()
    end.begin()
    end.died(killed)
    expect(end.reason).toBe('exit')
    end.begin()
    end.memoryRanOut()
    expect(end.reason).toBe('exit')
    end.endedFor('disk')
    end.memoryRanOut()
    expect(end.reason).toBe('disk')
  })
})
