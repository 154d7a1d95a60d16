/** The joiner's side: one dial with the invite's one-time key, before the daemon runs. Free of libp2p: the caller gives the way to dial. */
import { MeshError } from '../../protocol/errors.ts'
import { LIMITS } from '../../protocol/limits.ts'
import { fingerprint, fingerprintText, type Invite, isExpired, oneTimeId } from '../../protocol/membership/invite.ts'
import { decodeJoinReply, JOIN_PROTOCOL, makeJoinRequest } from '../../protocol/membership/join.ts'
import { openList } from '../../protocol/membership/member-list.ts'
import type { Signer } from '../../protocol/signing/signing.ts'
import type { Gate, MeshNet } from '../net/mesh-net.ts'
import { readFramed, writeFramed } from './framed.ts'
import type { Mesh } from './mesh-file.ts'

/** What a network for one join needs: the key to dial with, the mesh's, and whom it may reach. It need not listen. */
export interface JoinNetConfig {
  readonly meshId: string
  /** Seed of the one-time key */
  readonly seed: Uint8Array
  readonly networkKey: Uint8Array
  readonly gate: Gate
}

export type JoinNet = Pick<MeshNet, 'connect' | 'openStream' | 'close'>

export interface JoinOptions {
  readonly invite: Invite
  /** Of the identity that joins */
  readonly signer: Signer
  readonly nodeName: string
  readonly createNet: (config: JoinNetConfig) => Promise<JoinNet>
  readonly signal?: AbortSignal
  /** @default Date.now */
  readonly wallMs?: () => number
}

export interface Joined {
  /** To be written with `writeMesh` */
  readonly mesh: Mesh
  /** Compare with what the inviter shows */
  readonly fingerprint: string
}

/** A list of a MiB at 16 KiB/s takes 64 s. Whether there is somebody at all shows sooner: connecting has a time of its own. */
const JOIN_TIMEOUT_MS = 90_000

/** What `manyhands join` shows before it dials; `manyhands invite` showed the same. */
export function inviteFingerprint(invite: Invite): string {
  return fingerprint(invite.meshId, invite.inviter, oneTimeId(invite))
}

/** @throws MeshError E_INVITE expired or refused, E_UNREACHABLE, E_TIMEOUT, E_PROTOCOL, E_SIGNATURE */
export async function joinMesh(options: JoinOptions): Promise<Joined> {
  const { invite, signer } = options
  if (isExpired(invite.expiresAtMs, (options.wallMs ?? Date.now)())) {
    throw new MeshError('E_INVITE', 'Cannot join: the invite has expired', { hint: 'Ask for a new invite.' })
  }
  const timeout = AbortSignal.timeout(JOIN_TIMEOUT_MS)
  const signal = options.signal ? AbortSignal.any([options.signal, timeout]) : timeout
  const only = (peer: string) => peer === invite.inviter
  const net = await options.createNet({
    meshId: invite.meshId,
    seed: invite.secret,
    networkKey: invite.networkKey,
    // Not served: neither side opens anything but the joining protocol.
    gate: { admits: only, serves: () => false },
  })
  try {
    const reply = await ask(net, options, signal)
    const mesh = meshFrom(invite, signer.nodeId, options.nodeName, reply.list)
    const expected = fingerprint(invite.meshId, invite.inviter, signer.nodeId)
    if (fingerprintText(reply.fingerprint) !== expected) throw untrusted('the fingerprints differ')
    return { mesh, fingerprint: expected }
  } finally {
    await net.close()
  }
}

async function ask(net: JoinNet, { invite, signer, nodeName }: JoinOptions, signal: AbortSignal) {
  await net.connect(invite.inviter, invite.addresses, signal).catch((error: unknown) => {
    throw isUnreachable(error) ? notThere(invite, error) : error
  })
  const stream = await net.openStream(invite.inviter, JOIN_PROTOCOL, signal).catch((error: unknown) => {
    throw isUnreachable(error) ? notLetIn(error) : error
  })
  try {
    await writeFramed(stream, makeJoinRequest(signer, nodeName, invite.meshId, oneTimeId(invite)), signal)
    const reply = decodeJoinReply(await readFramed(stream, LIMITS.listBytes, signal))
    if (!reply.ok) throw new MeshError(reply.code, reply.message, reply.hint === undefined ? {} : { hint: reply.hint })
    return reply
  } finally {
    stream.abort(new MeshError('E_CANCELED', 'The join is over'))
  }
}

function isUnreachable(error: unknown): boolean {
  return error instanceof MeshError && error.code === 'E_UNREACHABLE'
}

function notThere({ addresses }: Invite, cause: unknown): MeshError {
  return new MeshError('E_UNREACHABLE', 'Cannot join: the node that invited cannot be reached', {
    hint: `See that it runs, and that this host reaches one of its addresses: ${addresses.join(', ')}`,
    cause,
  })
}

/** It proved who it is, and then closed: so it does with everyone whose one-time key is not that of an open invite. */
function notLetIn(cause: unknown): MeshError {
  return new MeshError('E_INVITE', 'Cannot join: the node that invited does not take this invite', {
    hint: 'Most likely it was used, or has expired there. Ask for a new invite; each serves once.',
    cause,
  })
}

/** The invite vouches for the inviter, and so for the list: it must be of that mesh, name the inviter as an admin, and name us. */
function meshFrom(invite: Invite, self: string, nodeName: string, signed: Parameters<typeof openList>[0]): Mesh {
  const list = openList(signed)
  const { members, meshId } = list.list
  if (meshId !== invite.meshId) throw untrusted('the member list is of another mesh')
  const isAdmin = (nodeId: string) => members.some((member) => member.nodeId === nodeId && member.role === 'admin')
  if (!isAdmin(invite.inviter) || !isAdmin(list.signed.signer))
    throw untrusted('the member list is not signed by an admin')
  const own = members.find((member) => member.nodeId === self)
  if (!own) throw untrusted('the member list does not name this node')
  const bootstrap = [{ peer: invite.inviter, addresses: invite.addresses }]
  return {
    meshId,
    meshName: invite.meshName,
    networkKey: invite.networkKey,
    nodeName: own.name || nodeName,
    list,
    bootstrap,
  }
}

function untrusted(why: string): MeshError {
  return new MeshError('E_INVITE', `Cannot join: what the inviter answered is not right: ${why}`, {
    hint: 'Ask for a new invite',
  })
}
