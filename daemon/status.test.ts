import { describe, expect, test } from 'vitest'
import { statusText } from './cli/views.ts'
import { resolvePaths } from './config/paths.ts'
import { type StatusSources, statusOf } from './status.ts'

const sources: StatusSources = {
  identity: { nodeId: 'n1' },
  mesh: { meshId: 'm1', meshName: 'lab', nodeName: 'here' },
  membership: { epoch: 3, isIn: true, role: 'member', member: () => undefined, members: () => new Map() },
  directory: {
    executors: () => [{ kind: 'isolate', grade: 'jailed', slots: 2, free: 2, queued: 0 }],
    peers: () => [],
  },
  net: { addresses: () => [] },
  tasks: {
    engine: { accepted: 0, working: 0 },
    hands: { state: () => ({ slots: 2, busy: 0, queued: 0, etaMs: 0 }) },
    acceptsFromPeers: true,
  },
  journal: { head: 7, health: () => ({ state: 'ok' }) },
  paths: resolvePaths({}, 1000, '/home/u'),
  startedAt: 0,
  joinedAfterMs: undefined,
  apiUrl: undefined,
}

test('the time that a node is up does not go by the wall clock, which may be put back', () => {
  const { uptimeSeconds } = statusOf({ ...sources, startedAt: Date.now() + 3_600_000 })
  expect(uptimeSeconds).toBeGreaterThanOrEqual(0)
})

describe('health', () => {
  test('is ok for a member that offers hands and can write', () => {
    const status = statusOf(sources)
    expect([status.health, status.mesh.isMember]).toEqual(['ok', true])
  })

  test('is degraded without anything to offer', () => {
    expect(statusOf({ ...sources, directory: { ...sources.directory, executors: () => [] } }).health).toBe('degraded')
  })

  test('is ok for a node that offers nothing because its operator wants that', () => {
    const tasks = { ...sources.tasks, acceptsFromPeers: false }
    const status = statusOf({ ...sources, tasks, directory: { ...sources.directory, executors: () => [] } })
    expect(status.health).toBe('ok')
  })

  test('is degraded for a node that was put out of the mesh', () => {
    const status = statusOf({ ...sources, membership: { ...sources.membership, isIn: false } })
    expect([status.health, status.mesh.isMember]).toEqual(['degraded', false])
  })

  test('is read-only when the journal cannot be written, whatever else', () => {
    const status = statusOf({
      ...sources,
      membership: { ...sources.membership, isIn: false },
      journal: { head: 7, health: () => ({ state: 'failing', since: 1, reason: 'disk full' }) },
    })
    expect(status.health).toBe('read-only')
    expect(status.journal).toEqual({ sequence: 7, healthy: false, reason: 'disk full' })
  })
})

test('tells where the local API listens on loopback, where it does', () => {
  const apiUrl = 'http://127.0.0.1:4280'
  expect(statusOf(sources)).not.toHaveProperty('apiUrl')
  expect(statusText(statusOf(sources))).not.toMatch(/^api /m)
  expect(statusOf({ ...sources, apiUrl })).toMatchObject({ apiUrl })
  expect(statusText(statusOf({ ...sources, apiUrl }))).toMatch(/^api +http:\/\/127\.0\.0\.1:4280$/m)
})
