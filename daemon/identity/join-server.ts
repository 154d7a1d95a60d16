/** The inviter's side: makes invites, and answers on the joining protocol to whoever dials with the one-time key of an open one. */
import type { InviteRequest, InviteView } from '../../protocol/api.ts'
import { MeshError, toMeshError } from '../../protocol/errors.ts'
import { LIMITS } from '../../protocol/limits.ts'
import { fingerprint, fingerprintBytes, formatInvite } from '../../protocol/membership/invite.ts'
import {
  encodeJoinReply,
  JOIN_PROTOCOL,
  type JoinReply,
  MAX_JOIN_REQUEST_BYTES,
  openJoinRequest,
} from '../../protocol/membership/join.ts'
import type { ByteStream, MeshNet } from '../net/mesh-net.ts'
import { readFramed, writeFramed } from './framed.ts'
import type { MembershipService } from './membership-service.ts'

const DEFAULT_TTL_MS = 60 * 60_000
const MAX_TTL_MS = 7 * 24 * 60 * 60_000
/** The list may be large, and the joiner's link narrow. */
const JOIN_TIMEOUT_MS = 80_000

export class JoinServer {
  readonly #membership: MembershipService
  readonly #net: MeshNet
  /** Joins change the list one after the other */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(membership: MembershipService, net: MeshNet) {
    this.#membership = membership
    this.#net = net
    net.handleStream(JOIN_PROTOCOL, (stream) => void this.#answer(stream))
  }

  /** @throws MeshError E_FORBIDDEN not an admin, E_BAD_REQUEST, E_RATE_LIMITED, E_STORAGE */
  async invite({ role = 'member', ttlMs = DEFAULT_TTL_MS }: InviteRequest): Promise<InviteView> {
    if (this.#membership.role !== 'admin') {
      throw new MeshError('E_FORBIDDEN', 'Cannot invite: this node is not an admin of the mesh', {
        hint: 'Do it on a node whose role is admin; `manyhands members` shows the roles',
      })
    }
    if (!(ttlMs > 0 && ttlMs <= MAX_TTL_MS)) {
      throw new MeshError(
        'E_BAD_REQUEST',
        `Cannot invite: a time to live of ${ttlMs} ms is not between 1 and ${MAX_TTL_MS}`,
      )
    }
    const { meshId, meshName, networkKey } = this.#membership.mesh
    const { secret, oneTime, expiresAtMs } = await this.#membership.invites.open(role, Math.round(ttlMs))
    const inviter = this.#net.self
    const addresses = this.#net.addresses().slice(0, LIMITS.addresses)
    const invite = formatInvite({ meshId, meshName, inviter, addresses, secret, networkKey, expiresAtMs, role })
    const expiresAt = new Date(expiresAtMs).toISOString()
    return { invite, expiresAt, role, meshId, meshName, inviter, fingerprint: fingerprint(meshId, inviter, oneTime) }
  }

  async #answer(stream: ByteStream): Promise<void> {
    const signal = AbortSignal.timeout(JOIN_TIMEOUT_MS)
    try {
      const request = await readFramed(stream, MAX_JOIN_REQUEST_BYTES, signal)
      const reply = await this.#inTurn(() => this.#admit(stream.peer, request))
      await writeFramed(stream, encodeJoinReply(reply), signal)
      await stream.end(signal)
    } catch (error) {
      stream.abort(toMeshError(error))
    }
  }

  #inTurn(act: () => Promise<JoinReply>): Promise<JoinReply> {
    const reply = this.#turn.then(act).catch((error: unknown): JoinReply => {
      const { code, message, hint } = toMeshError(error)
      return { ok: false, code, message, hint }
    })
    this.#turn = reply
    return reply
  }

  /** The identity of the connection is the one-time id: noise has proven that it holds the invite's secret. */
  async #admit(oneTime: string, body: Uint8Array): Promise<JoinReply> {
    const membership = this.#membership
    const { meshId } = membership.mesh
    const { nodeId, name } = openJoinRequest(body, meshId, oneTime)
    const { role, isAgain } = membership.invites.claim(oneTime, nodeId)
    // The same joiner once more: its answer was lost. Unless it was put out since, it gets the same place.
    if (isAgain && !membership.isMember(nodeId))
      throw new MeshError('E_REVOKED', 'Cannot join: the node was put out of the mesh', {
        hint: 'Ask for a new invite, and use it under another MANYHANDS_HOME: to return needs a new identity.',
      })
    if (isAgain) await membership.settle()
    else await this.#add(oneTime, nodeId, name, role)
    const inviter = this.#net.self
    return { ok: true, list: membership.signedList, fingerprint: fingerprintBytes(meshId, inviter, nodeId) }
  }

  async #add(oneTime: string, nodeId: string, name: string, role: 'admin' | 'member'): Promise<void> {
    const writes = this.#membership.invites.burn(oneTime, nodeId)
    try {
      await this.#membership.add(nodeId, name, role, writes)
    } catch (error) {
      // A member whose record is still to be written has used it: opened again, the invite would let in a second one.
      if (!this.#membership.isMember(nodeId)) this.#membership.invites.unburn(oneTime)
      throw error
    }
  }
}
