/** Members of one mesh in one process: the real membership and directory services over the network and the journal in memory. */
import { randomBytes } from 'node:crypto'
import { DISCOVERY_RECORDS } from '../../daemon/discovery/address-book.ts'
import { DirectoryService } from '../../daemon/discovery/directory-service.ts'
import type { Offer } from '../../daemon/discovery/own-card.ts'
import { joinMesh } from '../../daemon/identity/join-client.ts'
import { JoinServer } from '../../daemon/identity/join-server.ts'
import { type MembershipEvent, MembershipService } from '../../daemon/identity/membership-service.ts'
import { MEMBERSHIP_RECORDS } from '../../daemon/identity/membership-store.ts'
import { foundMesh, type Mesh } from '../../daemon/identity/mesh-file.ts'
import { MemoryJournal } from '../../daemon/journal/memory-journal.ts'
import { MemoryNetwork } from '../../daemon/net/memory-net.ts'
import type { MeshNet } from '../../daemon/net/mesh-net.ts'
import { nodeIdFromSeed } from '../../protocol/node-id.ts'
import { parseInvite } from '../../protocol/membership/invite.ts'
import { type Signer, signerFromSeed } from '../../protocol/signing/signing.ts'

export interface MemberInit {
  readonly mesh: Mesh
  readonly signer: Signer
  readonly journal?: MemoryJournal
  readonly offer?: Offer
  readonly wallMs?: () => number
  /** Monotonic, of membership alone */
  readonly now?: () => number
  /** Monotonic, of discovery alone */
  readonly directoryNow?: () => number
  /** @default false */
  readonly labelIndex?: boolean
}

export interface TestMember {
  readonly id: string
  readonly signer: Signer
  readonly journal: MemoryJournal
  readonly membership: MembershipService
  readonly directory: DirectoryService
  readonly net: MeshNet
  readonly joins: JoinServer
  readonly events: MembershipEvent[]
  readonly alarms: string[]
  readonly mesh: Mesh
}

export const ISOLATE: Offer = {
  executors: [
    { kind: 'isolate', grade: 'jailed', slots: 4, free: 4, queued: 0, maxMemoryBytes: 1 << 28, maxWallMs: 60_000 },
  ],
  labels: [],
}

export function newSigner(): Signer {
  return signerFromSeed(new Uint8Array(randomBytes(32)))
}

export class MemoryMesh {
  readonly network = new MemoryNetwork()
  readonly members: TestMember[] = []
  readonly settleMs: number

  constructor(settleMs = 200) {
    this.settleMs = settleMs
  }

  /** The founder and first admin. */
  async found(name = 'founder', init: Partial<MemberInit> = {}): Promise<TestMember> {
    const signer = newSigner()
    return this.up({ mesh: foundMesh(signer, 'test', name), signer, ...init })
  }

  /** A new node that joins by an invite of `inviter` and starts. */
  async join(
    inviter: TestMember,
    name: string,
    init: Partial<MemberInit> & { role?: 'admin' | 'member' } = {},
  ): Promise<TestMember> {
    const { invite } = await inviter.joins.invite({ role: init.role ?? 'member' })
    const signer = init.signer ?? newSigner()
    const { mesh } = await this.joinWith(invite, signer, name)
    return this.up({ ...init, mesh, signer })
  }

  joinWith(invite: string, signer: Signer, nodeName: string, wallMs: () => number = Date.now) {
    return joinMesh({
      invite: parseInvite(invite),
      signer,
      nodeName,
      wallMs,
      createNet: async ({ seed, gate }) => this.network.join({ self: nodeIdFromSeed(seed), gate }),
    })
  }

  /** Starts a node; again with the same journal for a restart. */
  async up({ mesh, signer, offer = ISOLATE, ...init }: MemberInit): Promise<TestMember> {
    const { wallMs, now, directoryNow, labelIndex = false } = init
    const journal = init.journal ?? new MemoryJournal({ types: [...MEMBERSHIP_RECORDS, ...DISCOVERY_RECORDS] })
    const clock = { ...(wallMs ? { wallMs } : {}), ...(now ? { now } : {}) }
    const settle = { settleMs: this.settleMs, cutOffMs: 10_000 }
    const membership = await MembershipService.open({ journal, mesh, signer, version: '0.0.0', ...settle, ...clock })
    const alarms: string[] = []
    const events: MembershipEvent[] = []
    membership.on((event) => {
      if (event.type === 'alarm') alarms.push(event.what)
      events.push(event)
    })
    const shared = { journal, membership, signer, version: '0.0.0', offer: () => offer, labelIndex }
    const directory = await DirectoryService.open({
      ...shared,
      ...(directoryNow ? { now: directoryNow } : {}),
      onAlarm: (what) => alarms.push(what),
    })
    const net = this.network.join({ self: signer.nodeId, gate: membership.gate })
    const joins = new JoinServer(membership, net)
    membership.attach(net, () => directory.ownCard())
    directory.attach(net)
    const member = { id: signer.nodeId, signer, journal, membership, directory, net, joins, events, alarms, mesh }
    this.members.push(member)
    await directory.start()
    return member
  }

  /** Stops without a word, as by kill -9; the journal stays. */
  crash(member: TestMember): void {
    this.network.crash(member.id)
    this.#drop(member)
  }

  async down(member: TestMember): Promise<void> {
    this.#drop(member)
    await member.net.close()
    await member.membership.close()
  }

  #drop(member: TestMember): void {
    member.directory.close()
    this.members.splice(this.members.indexOf(member), 1)
  }

  async close(): Promise<void> {
    for (const member of [...this.members]) await this.down(member)
  }
}

/** Waits until it holds. @throws Error after a generous time */
export async function until(what: string, holds: () => boolean, withinMs = 10_000): Promise<void> {
  const end = performance.now() + withinMs
  while (!holds()) {
    if (performance.now() > end) throw new Error(`never: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}
