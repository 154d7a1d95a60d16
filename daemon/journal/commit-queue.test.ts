import { describe, expect, it } from 'vitest'
import { MeshError } from '../../protocol/errors.ts'
import { CommitQueue } from './commit-queue.ts'

const limits = { batchBytes: 1000, batchRecords: 4, queueBytes: 3000, queueRecords: 10 }
/** 51 bytes are taken by the record around it */
const record = (bytes: number) => ({ type: 'a', body: new Uint8Array(bytes - 51) })

describe('CommitQueue', () => {
  it('takes in the order of the calls, by count and by bytes', () => {
    const queue = new CommitQueue(limits)
    const sizes = [100, 100, 100, 100, 100, 500, 500, 300]
    for (const size of sizes) queue.push(record(size)).catch(() => {})
    const batches = [queue.take(), queue.take(), queue.take(), queue.take()].map((batch) => batch.map((a) => a.bytes))
    expect(batches).toEqual([[100, 100, 100, 100], [100, 500], [500, 300], []])
    expect(queue.length).toBe(0)
  })

  it('takes a record above the batch limit alone', () => {
    const queue = new CommitQueue(limits)
    for (const size of [2000, 100]) queue.push(record(size)).catch(() => {})
    expect(queue.take()).toHaveLength(1)
    expect(queue.take()).toHaveLength(1)
  })

  it('counts table writes', () => {
    const queue = new CommitQueue(limits)
    const writes = [{ table: 'task', key: 'abc', value: new Uint8Array(93) }]
    queue.push({ ...record(100), writes }).catch(() => {})
    expect(queue.take()[0]?.bytes).toBe(200)
  })

  it('refuses beyond its count and its bytes, and accepts again once taken', async () => {
    const queue = new CommitQueue(limits)
    for (let i = 0; i < 10; i++) queue.push(record(100)).catch(() => {})
    await expect(queue.push(record(60))).rejects.toMatchObject({ code: 'E_OVERLOADED', retryAfterMs: 100 })
    queue.take()
    for (let i = 0; i < 2; i++) queue.push(record(1200)).catch(() => {})
    await expect(queue.push(record(60))).rejects.toMatchObject({ code: 'E_OVERLOADED' })
    while (queue.length > 0) queue.take()
    queue.push(record(5000)).catch(() => {})
    expect(queue.length).toBe(1)
  })

  it('rejects all that wait with one error', async () => {
    const queue = new CommitQueue(limits)
    const appends = [queue.push(record(60)), queue.push(record(60))]
    const error = new MeshError('E_STORAGE', 'the disk is gone')
    queue.rejectAll(error)
    for (const append of appends) await expect(append).rejects.toBe(error)
    expect(queue.length).toBe(0)
  })
})
