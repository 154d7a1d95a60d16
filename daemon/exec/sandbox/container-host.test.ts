import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { MeshError } from '../../../protocol/errors.ts'
import { ContainerHost, type Made } from './container-host.ts'
import { engineError } from './engine/engine-error.ts'
import type { EngineLink } from './engine/engine-link.ts'
import type { GuestAgent } from './guest-agent.ts'
import { DEFAULT_LIMITS } from './limits.ts'

const DIGEST = `sha256:${'0'.repeat(64)}`
const MADE: Made = {
  ...{ profile: 'strict', grade: 'jailed', runtime: 'runc', image: { name: 'i', digest: DIGEST }, root: DIGEST },
  ...{ limits: DEFAULT_LIMITS, workspace: 'loop', rootQuota: 'read-only' },
  ...{ id: 'abcdefghij0123456789', container: 'c1', disk: 'd1', token: '0'.repeat(32) },
}

const path = process.env['PATH']
let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'mh-host-'))
})
afterEach(() => {
  process.env['PATH'] = path
  rmSync(folder, { recursive: true })
})

it('a start that fails leaves no mounting behind that goes on', async () => {
  const mounted = join(folder, 'mounted')
  writeFileSync(join(folder, 'mount'), `#!/bin/sh\nsleep 0.2\necho >${mounted}\n`)
  chmodSync(join(folder, 'mount'), 0o755)
  process.env['PATH'] = `${folder}:${path}`
  const gone = (): Promise<never> => Promise.reject(new MeshError('E_NOT_FOUND', 'There is no such container'))
  const host = new ContainerHost({
    ...{ nodeId: 'n', lease: 'l', folder: join(folder, 'disks') },
    link: { client: () => ({ attach: gone }) } as unknown as EngineLink,
    agent: { install: async () => undefined } as unknown as GuestAgent,
    onLeft: () => undefined,
  })
  await expect(host.start(MADE)).rejects.toMatchObject({ code: 'E_NOT_FOUND' })
  expect(existsSync(mounted)).toBe(true)
})

it.each([
  ['hangs if the engine answers', engineError('start the sandbox', new DOMException('late', 'TimeoutError')), true, 1],
  ['is not blamed for an engine that hangs', engineError('start', new DOMException('late', 'TimeoutError')), false, 0],
  ['is not blamed for other failures', new MeshError('E_NOT_FOUND', 'There is no such container'), true, 0],
])('a runtime that starts nothing in time %s', async (_name, failure, answers, blamed) => {
  const hanging: [string, boolean][] = []
  const client = {
    attach: async () => new PassThrough(),
    start: () => Promise.reject(failure),
    ping: () => (answers ? Promise.resolve() : Promise.reject(failure)),
  }
  const runtimeHangs = (name: string, hangs: boolean): void => void hanging.push([name, hangs])
  const host = new ContainerHost({
    ...{ nodeId: 'n', lease: 'l', folder: join(folder, 'disks') },
    link: { client: () => client, runtimeHangs } as unknown as EngineLink,
    agent: { install: async () => undefined } as unknown as GuestAgent,
    onLeft: () => undefined,
  })
  const made: Made = { ...MADE, grade: 'gvisor', runtime: 'runsc', workspace: 'tmpfs' }
  await expect(host.start(made)).rejects.toBe(failure)
  expect(hanging).toEqual(Array.from({ length: blamed }, () => ['runsc', true]))
})
