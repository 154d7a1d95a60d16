import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { MeshError } from '../../../protocol/errors.ts'
import { askFiles } from './ask-files.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

test('nothing is left of asking a peer that cannot be reached', async () => {
  const net = { openStream: () => Promise.reject(new MeshError('E_UNREACHABLE', 'It is away')) }
  const none = () => Promise.resolve(undefined)
  const files = { putFrom: none, refusal: () => undefined, takePart: none, keepPart: none }
  const { signal } = new AbortController()
  const order = { peer: 'peer', artifact: 'artifact', wanted: [{ oid: 'a'.repeat(64), size: 1 }] }
  await expect(askFiles(order, { net, files, signal })).rejects.toMatchObject({ code: 'E_UNREACHABLE' })
  expect(vi.getTimerCount()).toBe(0)
})
