/** What a consumer with the strictest settings may write; the compiler checks it. */
import { expect, it } from 'vitest'
import type { Artifact, EventOptions, Mesh, PortWaitOptions, Proposals, Sandbox, UndoOptions } from './public.ts'

it('an option that is undefined is one that was left out', () => {
  const call = { signal: undefined }
  const events: EventOptions = { ...call, reconnectMs: undefined, onLost: undefined, onReconnect: undefined }
  const undo: UndoOptions = { ...call, dryRun: undefined }
  const wait: PortWaitOptions = { ...call, timeout: undefined }
  const page = { ...call, limit: undefined, after: undefined }
  const refs: Parameters<Artifact['refs']>[0] = page
  const audit: Parameters<Artifact['audit']>[0] = { ...page, writer: undefined }
  const note: Parameters<Artifact['note']>[0] = { ...call, kind: undefined }
  const proposals: Parameters<Proposals['list']>[0] = { ...page, state: undefined }
  const run: Parameters<Mesh['runFile']>[1] = { ...call, detach: undefined, parse: undefined }
  const fork: Parameters<Sandbox['fork']>[0] = { ...call, name: undefined, from: undefined }
  const terminal: Parameters<Sandbox['terminal']>[1] = { ...call, argv: undefined }
  const remove: Parameters<Sandbox['files']['remove']>[1] = { ...call, recursive: undefined }
  const all = [events, undo, wait, refs, audit, note, proposals, run, fork, terminal, remove]
  expect(JSON.stringify(all)).toBe(JSON.stringify(all.map(() => ({}))))
})
