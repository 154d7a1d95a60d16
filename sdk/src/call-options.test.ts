import { describe, expect, it } from 'vitest'
import type { ArtifactView, ProposalView } from '../../protocol/api.ts'
import { Artifact } from './artifact.ts'
import { Artifacts } from './artifacts.ts'
import type { CallOptions } from './call-options.ts'
import { Client } from './client.ts'
import { Egress, Policy, Secrets, Services } from './egress.ts'
import { Proposal } from './proposals.ts'
import { Tasks } from './tasks.ts'
import type { Transport } from './transport.ts'

/** Paths that were asked for. */
const asked: string[] = []
/** Never answers: a call ends by its signal, or not at all. */
const silent: Transport = {
  request: ({ path, signal }) =>
    new Promise((_, reject) => {
      asked.push(path)
      signal.addEventListener('abort', () => reject(signal.reason), { once: true })
    }),
  close: () => Promise.resolve(),
}
const client = new Client(silent)
const none = (): never => {
  throw new Error('not here')
}
const tasks = new Tasks(client, none, none)
const artifacts = new Artifacts(client)
const artifact = new Artifact(client, { id: 'a' } as ArtifactView)
const { tokens, triggers, proposals } = artifact
const proposal = new Proposal(client, { id: 'p', artifact: 'a' } as ProposalView)
const secrets = new Secrets(client)
const policy = new Policy(client)
const services = new Services(client)
const rule = { for: ['any'], host: 'a.test' }
const commit = { files: [], message: '' }

const CALLS: Readonly<Record<string, (options: CallOptions) => Promise<unknown>>> = {
  'tasks.list': (o) => tasks.list({ limit: 1, ...o }),
  'tasks.get': (o) => tasks.get('t', o),
  'tasks.cancel': (o) => tasks.cancel('t', o),
  'tasks.undo': (o) => tasks.undo('t', { dryRun: true, ...o }),
  'tasks.explain': (o) => tasks.explain('t', o),
  'tasks.receipts': (o) => tasks.receipts('t', o),
  'tasks.results': (o) => tasks.results('t', 0, 1, o),
  'tasks.wait': (o) => tasks.wait('t', o),
  'artifacts.create': (o) => artifacts.create({}, o),
  'artifacts.list': (o) => artifacts.list({ prefix: 'a', ...o }),
  'artifacts.get': (o) => artifacts.get('a', o),
  'artifacts.fetch': (o) => artifacts.fetch('a', o),
  'artifacts.import': (o) => artifacts.import({ url: 'https://a.test/' }, o),
  'artifact.refresh': (o) => artifact.refresh(o),
  'artifact.commit': (o) => artifact.commit(commit, o),
  'artifact.read': (o) => artifact.read('f', o),
  'artifact.readText': (o) => artifact.readText('f', o),
  'artifact.list': (o) => artifact.list({ recursive: true, ...o }),
  'artifact.log': (o) => artifact.log(o),
  'artifact.diff': (o) => artifact.diff('a', 'b', undefined, o),
  'artifact.merge': (o) => artifact.merge({ from: 'b' }, o),
  'artifact.fork': (o) => artifact.fork({}, o),
  'artifact.refs': (o) => artifact.refs(o),
  'artifact.note': (o) => artifact.note(o),
  'artifact.addNote': (o) => artifact.addNote({ text: 'n' }, o),
  'artifact.propose': (o) => artifact.propose({ from: 'b' }, o),
  'artifact.replicate': (o) => artifact.replicate({ min: 2 }, o),
  'artifact.replication': (o) => artifact.replicate(undefined, o),
  'artifact.verify': (o) => artifact.verify(o),
  'artifact.audit': (o) => artifact.audit({ limit: 1, ...o }),
  'artifact.update': (o) => artifact.update({}, o),
  'artifact.collect': (o) => artifact.collect({}, o),
  'artifact.remove': (o) => artifact.remove(o),
  'tokens.create': (o) => tokens.create({}, o),
  'tokens.list': (o) => tokens.list(o),
  'tokens.revoke': (o) => tokens.revoke('t', o),
  'triggers.list': (o) => triggers.list(o),
  'triggers.add': (o) => triggers.add({ name: 't', on: 'push', program: { source: 's' } }, o),
  'triggers.remove': (o) => triggers.remove('t', o),
  'proposals.list': (o) => proposals.list(o),
  'proposals.get': (o) => proposals.get('p', o),
  'proposal.comment': (o) => proposal.comment('text', undefined, o),
  'proposal.check': (o) => proposal.check({ name: 'c', result: 'pass' }, o),
  'proposal.approve': (o) => proposal.approve({}, o),
  'proposal.merge': (o) => proposal.merge({}, o),
  'proposal.close': (o) => proposal.close({}, o),
  'secrets.list': (o) => secrets.list(o),
  'policy.allow': (o) => policy.allow(rule, o),
  'services.list': (o) => services.list(o),
  'egress.recent': (o) => new Egress(client).recent(o),
}

describe('a signal as last argument', () => {
  it.each(Object.keys(CALLS))(
    'ends the waiting of %s with its reason, and is no part of what is asked',
    async (name) => {
      const stop = new AbortController()
      const reason = new Error('enough')
      const before = asked.length
      const call = CALLS[name]?.({ signal: stop.signal })
      expect(asked).toHaveLength(before + 1)
      expect(asked.at(-1)).not.toContain('signal')
      stop.abort(reason)
      await expect(call).rejects.toBe(reason)
    },
  )
})
