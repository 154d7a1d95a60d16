import { afterEach, expect, test, vi } from 'vitest'
import { MeshError } from '../../../protocol/errors.ts'
import { labelOf, Labels, type LabelsOptions } from './labels.ts'

const PUBLIC = { settings: { visibility: 'mesh' } }

afterEach(() => vi.useRealTimers())

test('what the index did not take is told to it again', async () => {
  vi.useFakeTimers()
  const stopping = new AbortController()
  const told: string[] = []
  let isThere = false
  const provide = async (label: string): Promise<void> => {
    told.push(label)
    if (!isThere) throw new MeshError('E_UNREACHABLE', 'No peer of the index answered')
  }
  // What it looks at of an artifact
  const get = () => PUBLIC as ReturnType<LabelsOptions['store']['get']>
  const held = (act: (artifact: string) => Promise<void>): Promise<void> => act('old')
  const labels = new Labels({ net: { provide }, store: { get }, rounds: { held }, signal: stopping.signal })
  const done = labels.begin()
  await vi.advanceTimersByTimeAsync(1_000)
  labels.add('new')
  isThere = true
  told.length = 0
  await vi.advanceTimersByTimeAsync(60_000)
  expect(told.toSorted()).toEqual([labelOf('new'), labelOf('old')])
  await done
  stopping.abort()
})
