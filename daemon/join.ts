/** Joining a mesh, and what is shown before. Runs before the daemon does. */
import { hostname } from 'node:os'
import { MeshError } from '../protocol/errors.ts'
import { parseInvite } from '../protocol/membership/invite.ts'
import { ensurePrivateFolder } from './files/private-file.ts'
import { createIdentity } from './identity/identity.ts'
import { inviteFingerprint, joinMesh as joinByInvite } from './identity/join-client.ts'
import { findMesh, writeMesh } from './identity/mesh-file.ts'
import { createNet } from './net/libp2p-net.ts'
import { type DaemonOptions, pathsAndConfig } from './setting.ts'

export interface JoinResult {
  readonly meshId: string
  readonly meshName: string
  readonly nodeId: string
  readonly name: string
  /** Of the invite: `manyhands invite` showed the same */
  readonly inviteFingerprint: string
  /** Of this node and the inviter: the inviter's event of the join shows the same */
  readonly fingerprint: string
}

/**
 * Joins a mesh before the daemon runs.
 * @throws MeshError E_INVITE, E_CONFLICT when this node belongs to a mesh already, E_UNREACHABLE
 */
export async function joinMesh(
  text: string,
  options: DaemonOptions & { readonly name?: string; readonly signal?: AbortSignal } = {},
): Promise<JoinResult> {
  const { paths, config } = pathsAndConfig(options)
  const before = await findMesh(paths.meshFile)
  const invite = parseInvite(text)
  if (before !== undefined) {
    const same = before.meshId === invite.meshId
    throw new MeshError(
      'E_CONFLICT',
      `Cannot join: this node belongs to ${same ? 'that mesh' : `mesh "${before.meshName}"`} already`,
      {
        hint: same ? 'Start it with `manyhands up`.' : 'Use another MANYHANDS_HOME for a second node on this host.',
      },
    )
  }
  await ensurePrivateFolder(paths.dataDir)
  const identity = await createIdentity(paths.identityFile)
  const nodeName = options.name ?? (config.name || hostname())
  const joined = await joinByInvite({
    invite,
    signer: identity.signer,
    nodeName,
    createNet: (join) => createNet({ ...join, listen: [], allowLoopback: true, allowPrivate: true }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  })
  const { mesh } = joined
  if (!(await writeMesh(paths.meshFile, mesh))) {
    throw new MeshError('E_CONFLICT', 'Cannot join: meanwhile this node got a mesh, by a start or by another invite', {
      hint: 'Use another MANYHANDS_HOME for a second node on this host.',
    })
  }
  const { meshId, meshName } = mesh
  const prints = { inviteFingerprint: inviteFingerprint(invite), fingerprint: joined.fingerprint }
  return { meshId, meshName, nodeId: identity.nodeId, name: mesh.nodeName, ...prints }
}
