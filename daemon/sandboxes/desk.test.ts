/** The desk, with places that answer as they are told. */
import { describe, expect, it, vi } from 'vitest'
import type { SandboxView } from '../../protocol/api-sandboxes.ts'
import { MeshError } from '../../protocol/errors.ts'
import type { OpReply, SandboxOp } from '../../protocol/sandbox/op.ts'
import type { LentDoor } from '../egress/egress.ts'
import { MemoryJournal } from '../journal/memory-journal.ts'
import { ArtifactGrants } from './artifact-grants.ts'
import { AwayBook } from './away-book.ts'
import { SandboxDesk } from './desk.ts'
import type { OpPlace } from './op-link.ts'
import { SANDBOX_DESK_RECORDS } from './records.ts'

const SELF = 'home'
const EMPTY_KIT = { env: {}, files: [], caPem: '', placeholders: {} }

function viewOf(id: string, node: string): SandboxView {
  return {
    ...{ id, node, nodeName: node, state: 'running', image: 'debian:12', digest: 'sha256:0', grade: 'jailed' },
    ...{ profile: 'strict', workspace: '/workspace', survivesStop: true, snapshots: [], createdAt: '' },
    limits: { memoryBytes: 1, cpus: 1, pids: 1, diskBytes: 1, inodes: 1, tmpBytes: 1, rootBytes: 1 },
  }
}

type Answer = (op: SandboxOp) => OpReply | Promise<OpReply>

/** A desk whose sandboxes get one id after the other, wherever they are made. */
async function start() {
  const journal = new MemoryJournal({ types: SANDBOX_DESK_RECORDS })
  const warnings: string[] = []
  const warn = (_facts: object, message: string): void => void warnings.push(message)
  const none = (): Promise<never> => Promise.reject(new MeshError('E_NO_ARTIFACTS', 'There are none'))
  const asked: string[] = []
  const canceled: string[] = []
  /** Doors that were lent, and not closed since, by the node they were lent to */
  const open: string[] = []
  const answers = new Map<string, Answer>()
  let made = 0
  const usual = (node: string, op: SandboxOp): OpReply => {
    if (op.op === 'create' || op.op === 'import') return { view: viewOf(`box-${++made}`, node) }
    if (op.op === 'views' || op.op === 'renew') return { views: (op.ids ?? []).map((id) => viewOf(id, node)) }
    return {}
  }
  const place = (node: string): OpPlace => ({
    run: async (op, link) => {
      asked.push(`${node} ${op.op}`)
      const gone = new Promise<never>((_resolve, reject) =>
        link.signal.addEventListener('abort', () => {
          canceled.push(`${node} ${op.op}`)
          reject(link.signal.reason)
        }),
      )
      return Promise.race([gone, (answers.get(`${node} ${op.op}`) ?? ((one) => usual(node, one)))(op)])
    },
  })
  /** What a lending waits for */
  const lending = { until: Promise.resolve() }
  const lend = async ({ node }: { readonly node: string }): Promise<LentDoor> => {
    await lending.until
    open.push(node)
    return {
      ticket: { id: 'ticket', kit: EMPTY_KIT },
      close: async () => void (open.includes(node) && open.splice(open.indexOf(node), 1)),
    }
  }
  const desk = new SandboxDesk({
    self: SELF,
    host: { placeFor: place, views: () => [], find: () => undefined },
    away: await AwayBook.open(journal),
    grants: await ArtifactGrants.open({ journal, source: { services: none, git: none }, warn }),
    placer: {
      candidates: async (_order, on) => [on],
      hopeless: () => new MeshError('E_NO_CANDIDATE', 'There is none'),
      nodeCalled: (name) => name,
    },
    peer: place,
    lend,
    warn,
    ownOpMs: 20,
  })
  return { desk, journal, asked, canceled, open, lending, answers, warnings }
}

const { signal } = new AbortController()

describe('the way out of a sandbox that moves', () => {
  it('is lent to each node it comes to, and to no other any more', async () => {
    const { desk, open } = await start()
    const { id } = await desk.create({ on: 'bob' }, undefined, signal)
    expect(open).toEqual(['bob'])
    await desk.move(id, 'carol', signal)
    expect(open).toEqual(['carol'])
    await desk.remove(id, signal)
    expect(open).toEqual([])
  })

  it('is lent to nobody once it is home, also when its old copy could not be removed', async () => {
    const { desk, open, answers, warnings } = await start()
    const { id } = await desk.create({ on: 'bob' }, undefined, signal)
    answers.set('bob remove', () => Promise.reject(new MeshError('E_UNREACHABLE', 'bob is gone')))
    expect(await desk.move(id, SELF, signal)).toMatchObject({ id, node: SELF })
    expect(open).toEqual([])
    expect(warnings).toEqual(['a sandbox was moved, and its old copy is still there'])
  })

  it('is lent with the next renewal when the node could not take it', async () => {
    const { desk, open, answers, asked } = await start()
    answers.set('bob door', () => Promise.reject(new MeshError('E_OVERLOADED', 'bob is busy')))
    await desk.create({ on: 'bob' }, undefined, signal)
    await expect(desk.renew('bob')).rejects.toMatchObject({ code: 'E_OVERLOADED' })
    answers.delete('bob door')
    await desk.renew('bob')
    expect(open).toEqual(['bob'])
    await desk.renew('bob')
    expect(asked.filter((one) => one === 'bob door')).toHaveLength(3)
  })

  it('is not lent to a node it leaves meanwhile', async () => {
    const { desk, open, lending } = await start()
    const { id } = await desk.create({ on: 'bob' }, undefined, signal)
    const { promise, resolve } = Promise.withResolvers<void>()
    lending.until = promise
    const back = desk.reconnected('bob')
    await expect.poll(() => open).toEqual([])
    await desk.move(id, SELF, signal)
    resolve()
    await back
    expect(open).toEqual([])
  })
})

describe('a move that fails at one end', () => {
  it.each([
    ['bob export', 'carol import'],
    ['carol import', 'bob export'],
  ])('of %s ends %s', async (failing, other) => {
    const { desk, answers, canceled } = await start()
    const { id } = await desk.create({ on: 'bob' }, undefined, signal)
    answers.set(failing, () => Promise.reject(new MeshError('E_OVERLOADED', 'There is no room')))
    answers.set(other, () => new Promise(() => undefined))
    await expect(desk.move(id, 'carol', signal)).rejects.toMatchObject({ code: 'E_OVERLOADED' })
    expect(canceled).toContain(other)
  })
})

describe('an idempotency key', () => {
  it('makes one sandbox, for all who wait, whoever of them goes away', async () => {
    const { desk, answers, asked, canceled } = await start()
    const until = Promise.withResolvers<void>()
    answers.set('bob create', () => until.promise.then(() => ({ view: viewOf('kept', 'bob') })))
    const first = new AbortController()
    const made = [first.signal, signal].map((one) => desk.create({ on: 'bob' }, 'key', one))
    await expect.poll(() => asked).toEqual(['bob create'])
    first.abort(new MeshError('E_CANCELED', 'The client is gone'))
    await expect(made[0]).rejects.toMatchObject({ code: 'E_CANCELED' })
    until.resolve()
    expect(await made[1]).toMatchObject({ id: 'kept' })
    expect(await desk.create({ on: 'bob' }, 'key', signal)).toMatchObject({ id: 'kept' })
    expect(canceled).toEqual([])
    await expect(async () => desk.create({ on: 'carol' }, 'key', signal)).rejects.toMatchObject({
      code: 'E_KEY_REUSED',
    })
  })

  it('ends the making when nobody waits any more, and begins it anew for who comes then', async () => {
    const { desk, answers, asked, canceled } = await start()
    const request = { on: 'bob', name: 'dev' }
    const gone = new AbortController()
    answers.set('bob create', () => new Promise(() => undefined))
    const left = desk.create(request, 'key', gone.signal)
    await expect.poll(() => asked).toEqual(['bob create'])
    gone.abort(new MeshError('E_CANCELED', 'The client is gone'))
    answers.delete('bob create')
    await expect(left).rejects.toMatchObject({ code: 'E_CANCELED' })
    expect(await desk.create(request, 'key', signal)).toMatchObject({ id: 'box-1' })
    expect(canceled).toEqual(['bob create'])
  })
})

describe('a name', () => {
  const taken = { code: 'E_CONFLICT' }

  it('is given once, also while the sandbox of that name is being made on another node', async () => {
    const { desk, answers } = await start()
    const { id } = await desk.create({ on: 'bob' }, undefined, signal)
    const until = Promise.withResolvers<void>()
    const slow = async (): Promise<OpReply> => {
      await until.promise
      return { view: { ...viewOf('slow', 'bob'), name: 'dev' } }
    }
    answers.set('bob create', slow)
    const first = desk.create({ on: 'bob', name: 'dev' }, undefined, signal)
    await expect(desk.create({ on: 'carol', name: 'dev' }, undefined, signal)).rejects.toMatchObject(taken)
    await expect(desk.fork(id, { name: 'dev' }, signal)).rejects.toMatchObject(taken)
    until.resolve()
    const { id: made } = await first
    await expect(desk.create({ on: 'carol', name: 'dev' }, undefined, signal)).rejects.toMatchObject(taken)
    await desk.remove(made, signal)
    await desk.create({ on: 'carol', name: 'dev' }, undefined, signal)
  })

  it('is free again when the sandbox could not be made', async () => {
    const { desk, answers } = await start()
    answers.set('bob create', () => Promise.reject(new MeshError('E_BAD_REQUEST', 'That is none')))
    await expect(desk.create({ on: 'bob', name: 'dev' }, undefined, signal)).rejects.toThrow('That is none')
    await desk.create({ on: 'carol', name: 'dev' }, undefined, signal)
  })
})

describe('a sandbox whose removal cannot be written', () => {
  it('is still known, and removed when it is asked for again', async () => {
    const { desk, journal } = await start()
    const { id } = await desk.create({ on: 'bob' }, undefined, signal)
    vi.spyOn(journal, 'append').mockRejectedValueOnce(new MeshError('E_STORAGE', 'The disk is full'))
    await expect(desk.remove(id, signal)).rejects.toMatchObject({ code: 'E_STORAGE' })
    expect(desk.list()).toMatchObject([{ id }])
    await desk.remove(id, signal)
    expect(desk.list()).toEqual([])
  })
})

describe('a node that does not answer', () => {
  it('holds up nothing that this daemon asks by itself', async () => {
    const { desk, answers, asked } = await start()
    const never = (): Promise<never> => new Promise(() => undefined)
    for (const op of ['renew', 'door', 'remove']) answers.set(`bob ${op}`, never)
    const { id } = await desk.create({ on: 'bob' }, undefined, signal)
    await expect(desk.renew('bob')).rejects.toMatchObject({ code: 'E_TIMEOUT' })
    await expect(desk.reconnected('bob')).rejects.toMatchObject({ code: 'E_TIMEOUT' })
    expect(await desk.move(id, 'carol', signal)).toMatchObject({ node: 'carol' })
    expect(asked.filter((one) => /renew|door|remove/.test(one))).toEqual([
      ...['bob door', 'bob renew', 'bob renew', 'carol door', 'bob remove'],
    ])
  })
})
