/** What sandboxes were given, with tokens that are a set of this file's own. */
import { expect, it } from 'vitest'
import { MeshError } from '../../protocol/errors.ts'
import type { ArtifactServices } from '../api/artifact-services.ts'
import { MemoryJournal } from '../journal/memory-journal.ts'
import { ArtifactGrants, type GrantsOptions } from './artifact-grants.ts'
import { SANDBOX_DESK_RECORDS } from './records.ts'

const GRANT = { artifact: 'art', name: 'notes', access: 'write', subject: 'sandbox/dev' } as const
const refused = new MeshError('E_STORAGE', 'The disk is full')

function start() {
  const tokens = new Set<string>()
  let full = false
  const services: Pick<ArtifactServices, 'gitTokens' | 'createGitToken' | 'revokeGitToken'> = {
    gitTokens: async () => [...tokens].map((id) => ({ id, name: id, access: 'write', createdAt: '' })),
    createGitToken: async () => {
      const id = `token-${tokens.size}`
      tokens.add(id)
      return { id, name: id, access: 'write', createdAt: '', token: `secret of ${id}` }
    },
    revokeGitToken: async (_artifact, token) => {
      if (full) throw refused
      tokens.delete(token)
      return []
    },
  }
  const journal = new MemoryJournal({ types: SANDBOX_DESK_RECORDS })
  const append = journal.append.bind(journal)
  journal.append = (draft) => (full ? Promise.reject(refused) : append(draft))
  const options: GrantsOptions = {
    journal,
    source: {
      services: async () => ({ ...services, get: () => Promise.reject(refused) }),
      git: () => Promise.reject(refused),
    },
    warn: () => undefined,
  }
  return {
    open: () => ArtifactGrants.open(options),
    tokens,
    disk: (is: 'full' | 'free') => void (full = is === 'full'),
  }
}

it('the token of a sandbox that goes while nothing can be written is revoked by the next start, and no other', async () => {
  const { open, tokens, disk } = start()
  const grants = await open()
  for (const sandbox of ['gone', 'kept']) {
    await grants.give(sandbox, GRANT)
    await grants.secret(sandbox)
  }
  expect([...tokens]).toEqual(['token-0', 'token-1'])
  disk('full')
  await grants.take('gone').catch(() => undefined)
  expect(grants.find('gone')).toBeUndefined()
  disk('free')
  const again = await open()
  await again.takeStrays(new Set(['kept']))
  expect([...tokens]).toEqual(['token-1'])
  expect((await open()).find('gone')).toBeUndefined()
  expect((await open()).find('kept')).toMatchObject(GRANT)
})
