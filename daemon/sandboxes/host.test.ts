/** What other nodes may ask of this one's sandboxes and images. */
import { describe, expect, it } from 'vitest'
import { MeshError } from '../../protocol/errors.ts'
import { LIMITS } from '../../protocol/limits.ts'
import type { OpReply, SandboxOp } from '../../protocol/sandbox/op.ts'
import { MemorySandboxes } from '../../test/support/memory-sandboxes.ts'
import { MemoryJournal } from '../journal/memory-journal.ts'
import { SandboxHost, type SandboxHostOptions } from './host.ts'
import { Leases } from './leases.ts'
import { type OpLink, quietLink } from './op-link.ts'
import { SANDBOX_DESK_RECORDS } from './records.ts'

const SELF = 'home'
const SLOTS = 8

function start(options: Partial<SandboxHostOptions> = {}) {
  const executor = new MemorySandboxes()
  const nothing = async (): Promise<void> => undefined
  const host = new SandboxHost({
    executor,
    doors: { ready: async () => ({}), lent: nothing, forget: nothing },
    leases: new Leases({
      ...{ journal: new MemoryJournal({ types: SANDBOX_DESK_RECORDS }), leaseMs: 1e6, silenceMs: 1e6 },
      onSilent: () => Promise.resolve(),
      onExpired: nothing,
    }),
    ...{
      self: SELF,
      nodeName: () => SELF,
      defaultImage: 'manyhands/default',
      keptBytes: 1,
      slots: SLOTS,
      imagesFromPeers: false,
    },
    onImages: () => undefined,
    ...options,
  })
  const link: OpLink = { ...quietLink(new AbortController().signal), receive: (sink) => sink.finish() }
  const ask = (owner: string, op: SandboxOp): Promise<OpReply> => host.placeFor(owner).run(op, link)
  return { executor, host, ask }
}

const CREATE: SandboxOp = { op: 'create', order: {} }
const overloaded = { code: 'E_OVERLOADED', hint: expect.stringContaining('sandbox.slots') as string }

describe('a node that asks for a sandbox and leaves before it is made', () => {
  const ways: (readonly [string, (id: string) => SandboxOp])[] = [
    ['create', () => CREATE],
    ['import', () => ({ op: 'import' })],
    ['fork', (id) => ({ op: 'fork', sandbox: id })],
  ]
  it.each(ways)('leaves nothing behind: %s', async (_name, op) => {
    const { ask, host, executor } = start()
    const { view } = await ask('bob', CREATE)
    const made = Promise.withResolvers<void>()
    executor.until = made.promise
    const gone = new AbortController()
    const link: OpLink = { ...quietLink(gone.signal), receive: (sink) => sink.finish() }
    const asked = host.placeFor('bob').run(op(view?.id ?? ''), link)
    gone.abort(new MeshError('E_UNREACHABLE', 'The connection was lost'))
    made.resolve()
    await expect(asked).rejects.toMatchObject({ code: 'E_UNREACHABLE' })
    expect(host.views('bob').map(({ id }) => id)).toEqual([view?.id])
  })
})

describe('RES-01: slots for sandboxes of other nodes', () => {
  it('are shared out: one node gets its part by whatever way, and others find room', async () => {
    const { ask, host } = start()
    const share = SLOTS * LIMITS.sandboxShare
    const { view } = await ask('bob', CREATE)
    const id = view?.id ?? ''
    const ways: SandboxOp[] = [CREATE, { op: 'import' }, { op: 'fork', sandbox: id }]
    for (let n = 1; n < share; n++) await ask('bob', ways[n % ways.length] ?? CREATE)
    for (const op of ways) await expect(ask('bob', op)).rejects.toMatchObject(overloaded)
    expect(host.offers()).toMatchObject([{ slots: SLOTS, free: SLOTS - share }])
    await ask('carol', CREATE)
    await ask('bob', { op: 'remove', sandbox: id })
    await ask('bob', CREATE)
  })

  it('are no more than were offered, also while some are being made, and bind not the user of the node', async () => {
    const { ask, executor, host } = start()
    const { promise, resolve } = Promise.withResolvers<void>()
    executor.until = promise
    const peers = Array.from({ length: SLOTS }, (_, n) => ask(`peer-${n}`, CREATE))
    expect(host.offers()).toMatchObject([{ free: 0 }])
    await expect(ask('late', CREATE)).rejects.toMatchObject(overloaded)
    resolve()
    await Promise.all(peers)
    await expect(ask('late', CREATE)).rejects.toMatchObject(overloaded)
    await ask(SELF, CREATE)
    expect(executor.list().length).toBe(SLOTS + 1)
  })

  it('are free again when one could not be made, and few as they may be, each node may have one', async () => {
    const { ask, executor } = start({ slots: 1 })
    executor.until = Promise.reject(new Error('no disk'))
    await expect(ask('bob', CREATE)).rejects.toThrow('no disk')
    executor.until = Promise.resolve()
    await ask('bob', CREATE)
    await expect(ask('carol', CREATE)).rejects.toMatchObject(overloaded)
  })
})

describe('SBX-29: images of this node', () => {
  const MAKE: SandboxOp[] = [
    { op: 'image-import', image: 'manyhands/default' },
    { op: 'image-pull', image: 'postgres:16' },
    { op: 'image-build' },
  ]
  const asked = (onlyNew: boolean) => [
    { op: 'import', name: 'manyhands/default', onlyNew },
    { op: 'pull', name: 'postgres:16', onlyNew },
    { op: 'build', name: 'manyhands/default', onlyNew },
  ]

  it('are made by its own user alone, and others learn whom to ask', async () => {
    const { ask, executor } = start()
    for (const op of MAKE)
      await expect(ask('bob', op)).rejects.toMatchObject({
        code: 'E_FORBIDDEN',
        hint: expect.stringMatching(/operator .* sandbox\.imagesFromPeers/) as string,
      })
    expect(executor.images.asked).toEqual([])
    for (const op of MAKE) await ask(SELF, op)
    expect(executor.images.asked).toEqual(asked(false))
    expect((await ask('bob', { op: 'images' })).images).toHaveLength(1)
  })

  it('are made by others where the operator says so, and then new ones only', async () => {
    const { ask, executor } = start({ imagesFromPeers: true })
    for (const op of MAKE) await ask('bob', op)
    expect(executor.images.asked).toEqual(asked(true))
  })
})
