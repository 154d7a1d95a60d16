import { afterEach, describe, expect, test, vi } from 'vitest'
import { MEMBERSHIP_RECORDS } from './membership-store.ts'
import { DISCOVERY_RECORDS } from '../discovery/address-book.ts'
import { MemoryJournal } from '../journal/memory-journal.ts'
import { createNet } from '../net/libp2p-net.ts'
import type { NetConfig } from '../net/net-config.ts'
import { formatInvite, parseInvite } from '../../protocol/membership/invite.ts'
import { newSigner } from '../../test/support/memory-mesh.ts'
import { encodeJoinReply } from '../../protocol/membership/join.ts'
import type { ByteStream, MeshNet } from '../net/mesh-net.ts'
import { joinMesh } from './join-client.ts'
import { JoinServer } from './join-server.ts'
import { MembershipService } from './membership-service.ts'
import { foundMesh } from './mesh-file.ts'
import { createHash } from 'node:crypto'
import { signerFromSeed } from '../../protocol/signing/signing.ts'

const local = { listen: ['/ip4/127.0.0.1/tcp/0'], allowLoopback: true }
const code = (promise: Promise<unknown>) =>
  promise.then(
    () => 'ok',
    (error: { code?: string }) => error.code,
  )

describe('joining over libp2p', () => {
  const closers: (() => Promise<void>)[] = []
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close()
  })

  async function inviter() {
    const seed = createHash('sha256').update('inviter').digest()
    const signer = signerFromSeed(seed)
    const mesh = foundMesh(signer, 'lab', 'first')
    const journal = new MemoryJournal({ types: [...MEMBERSHIP_RECORDS, ...DISCOVERY_RECORDS] })
    const membership = await MembershipService.open({ journal, mesh, signer, version: '0' })
    const net = await createNet({
      meshId: mesh.meshId,
      seed,
      networkKey: mesh.networkKey,
      gate: membership.gate,
      ...local,
    })
    membership.attach(net, () => undefined)
    closers.push(
      () => membership.close(),
      () => net.close(),
    )
    return { membership, joins: new JoinServer(membership, net) }
  }

  const dial = (config: NetConfig) => createNet({ ...config, listen: [], allowLoopback: true })

  test('an invite lets one node in; the one-time key opens nothing else', async () => {
    const { membership, joins } = await inviter()
    const { invite } = await joins.invite({ role: 'member' })
    const signer = newSigner()
    const joined = await joinMesh({ invite: parseInvite(invite), signer, nodeName: 'second', createNet: dial })
    expect(joined.mesh.list.list.members.map(({ name }) => name).sort()).toEqual(['first', 'second'])
    expect(joined.fingerprint).toMatch(/^\d{5}( \d{5}){3}$/)
    expect(membership.isMember(signer.nodeId)).toBe(true)
    await expect(
      joinMesh({ invite: parseInvite(invite), signer: newSigner(), nodeName: 'third', createNet: dial }),
    ).rejects.toMatchObject({
      code: 'E_INVITE',
      hint: 'If that was not you, ask an admin to revoke the node that used it.',
    })
  })

  test('an invite that is not known any more is told as such, and a node that is not there with its addresses', async () => {
    const { joins } = await inviter()
    const invite = parseInvite((await joins.invite({})).invite)
    const join = (change: Partial<typeof invite>) =>
      joinMesh({ invite: { ...invite, ...change }, signer: newSigner(), nodeName: 'x', createNet: dial })
    await expect(join({ secret: new Uint8Array(32).fill(9) })).rejects.toMatchObject({
      code: 'E_INVITE',
      hint: expect.stringContaining('Ask for a new invite') as unknown,
    })
    const nowhere = `/ip4/127.0.0.1/tcp/1/p2p/${invite.inviter}`
    await expect(join({ addresses: [nowhere] })).rejects.toMatchObject({
      code: 'E_UNREACHABLE',
      hint: expect.stringContaining(nowhere) as unknown,
    })
  })

  test('P2P-02 an invite with another network key, or of a stranger, gets nowhere', async () => {
    const { membership, joins } = await inviter()
    const good = parseInvite((await joins.invite({})).invite)
    const join = (change: Partial<typeof good>) =>
      code(
        joinMesh({
          invite: parseInvite(formatInvite({ ...good, ...change })),
          signer: newSigner(),
          nodeName: 'x',
          createNet: dial,
          signal: AbortSignal.timeout(8_000),
        }),
      )
    expect(await join({ secret: new Uint8Array(32).fill(9) })).not.toBe('ok')
    expect(await join({ networkKey: new Uint8Array(32).fill(9) })).not.toBe('ok')
    expect(membership.members().size).toBe(1)
  })
})

describe('joining over a link that takes a minute for the list', () => {
  afterEach(() => {
    vi.restoreAllMocks()
    vi.useRealTimers()
  })

  /** The clock of the test, also for what ends by a signal. */
  function ownClock(): void {
    vi.useFakeTimers()
    vi.spyOn(AbortSignal, 'timeout').mockImplementation((ms) => {
      const controller = new AbortController()
      setTimeout(() => controller.abort(new DOMException('late', 'TimeoutError')), ms)
      return controller.signal
    })
  }

  /** Reads `incoming` after `ms`, and takes as long for what is written. */
  function slowStream(incoming: Uint8Array, ms: number) {
    const ended = Promise.withResolvers<never>()
    ended.promise.catch(() => undefined)
    const written: Uint8Array[] = []
    const late = (): Promise<unknown> =>
      Promise.race([new Promise((resolve) => setTimeout(resolve, ms)), ended.promise])
    const stream: ByteStream = {
      peer: newSigner().nodeId,
      write: async (chunk, signal) => {
        signal?.addEventListener('abort', () => ended.reject(signal.reason))
        await late()
        written.push(chunk)
      },
      end: async () => undefined,
      async *chunks() {
        await late()
        const header = Buffer.alloc(4)
        header.writeUInt32BE(incoming.length)
        yield Buffer.concat([header, incoming])
      },
      abort: (error) => ended.reject(error),
    }
    return { stream, written }
  }

  test('F11: the joiner waits for it', async () => {
    ownClock()
    const answer = encodeJoinReply({ ok: false, code: 'E_INVITE', message: 'no' })
    const { stream } = slowStream(answer, 30_000)
    const invite = {
      ...{
        meshId: 'a'.repeat(32),
        meshName: 'lab',
        inviter: newSigner().nodeId,
        addresses: [],
        role: 'member' as const,
      },
      ...{ secret: new Uint8Array(32).fill(1), networkKey: new Uint8Array(32), expiresAtMs: Date.now() + 600_000 },
    }
    const net = { connect: async () => undefined, openStream: async () => stream, close: async () => undefined }
    const joining = code(joinMesh({ invite, signer: newSigner(), nodeName: 'x', createNet: async () => net }))
    await vi.advanceTimersByTimeAsync(62_000)
    expect(await joining).toBe('E_INVITE')
  })

  test('F11: the inviter does', async () => {
    ownClock()
    const { stream, written } = slowStream(new Uint8Array(1), 30_000)
    let serve: (stream: ByteStream) => void = () => undefined
    const net = { handleStream: (_: string, handler: typeof serve) => (serve = handler) }
    // A request that means nothing is answered too, and nothing more of either is used
    new JoinServer({ mesh: { meshId: 'a' } } as MembershipService, net as unknown as MeshNet)
    serve(stream)
    await vi.advanceTimersByTimeAsync(62_000)
    expect(written.length).toBe(1)
  })
})
