/**
 * Which mesh this node belongs to, in one private file (it holds the network key): JSON
 * `{"version":1,"meshId","meshName","networkKey":"<base64url>","nodeName","list":"<base64url of the wire's Signed member list>","bootstrap":[{"peer","addresses"}]}`.
 * The list is the one this node founded the mesh with or was admitted by. It starts an empty journal; afterwards the journal knows better, unless a new invite brought
 * a later list.
 */
import { randomBytes } from 'node:crypto'
import { dirname } from 'node:path'
import { isPlainText } from '../../protocol/bounded-decode.ts'
import { MeshError } from '../../protocol/errors.ts'
import { LIMITS } from '../../protocol/limits.ts'
import { foundingList, isMeshId, openList, type SignedList } from '../../protocol/membership/member-list.ts'
import { isNodeId } from '../../protocol/node-id.ts'
import { decodeSigned, encodeSigned } from '../../protocol/signing/signed.ts'
import type { Signer } from '../../protocol/signing/signing.ts'
import { exactObject, isTextList } from '../files/exact-object.ts'
import { createPrivateFile, ensurePrivateFolder, readPrivateFile } from '../files/private-file.ts'

export interface BootstrapPeer {
  readonly peer: string
  readonly addresses: readonly string[]
}

export interface Mesh {
  readonly meshId: string
  readonly meshName: string
  /** 32 bytes: the pre-shared key of the private network */
  readonly networkKey: Uint8Array
  /** What this node calls itself */
  readonly nodeName: string
  readonly list: SignedList
  /** Whom to dial first */
  readonly bootstrap: readonly BootstrapPeer[]
}

/** Peers named in the file */
const MAX_BOOTSTRAP = 64
const MAX_FILE_BYTES = 2 * LIMITS.listBytes

/** Founds a mesh with this node as its only member and admin. */
export function foundMesh(signer: Signer, meshName: string, nodeName: string): Mesh {
  const meshId = randomBytes(16).toString('hex')
  const networkKey = new Uint8Array(randomBytes(32))
  return { meshId, meshName, networkKey, nodeName, list: foundingList(signer, meshId, nodeName), bootstrap: [] }
}

/**
 * Writes to which mesh this node belongs. A node has one for life, so nothing is replaced: another process may have been first.
 * @returns false when there is one already
 * @throws MeshError E_INSECURE_FILE, the error of the file system
 */
export async function writeMesh(path: string, mesh: Mesh): Promise<boolean> {
  await ensurePrivateFolder(dirname(path))
  const { meshId, meshName, nodeName, bootstrap } = mesh
  const networkKey = Buffer.from(mesh.networkKey).toString('base64url')
  const list = Buffer.from(encodeSigned(mesh.list.signed)).toString('base64url')
  return createPrivateFile(
    path,
    `${JSON.stringify({ version: 1, meshId, meshName, networkKey, nodeName, list, bootstrap })}\n`,
  )
}

/** The mesh, or undefined where none was founded or joined. @throws MeshError E_INSECURE_FILE, E_CONFIG when damaged */
export async function findMesh(path: string): Promise<Mesh | undefined> {
  const bytes = await readPrivateFile(path, MAX_FILE_BYTES)
  if (!bytes) return undefined
  try {
    return parseMesh(bytes)
  } catch (cause) {
    throw new MeshError('E_CONFIG', `Cannot read which mesh this node belongs to: ${path} is damaged`, {
      hint: 'Restore it from a copy, or join again with a new invite.',
      cause,
    })
  }
}

function parseMesh(bytes: Buffer): Mesh {
  const keys = ['version', 'meshId', 'meshName', 'networkKey', 'nodeName', 'list', 'bootstrap'] as const
  const file = exactObject(JSON.parse(bytes.toString('utf8')), ...keys)
  if (file?.version !== 1) throw new Error('it is no object of these keys')
  const { meshId, meshName, nodeName } = file
  if (typeof meshId !== 'string' || !isMeshId(meshId)) throw new Error('the mesh id is none')
  if (!isName(meshName) || !isName(nodeName)) throw new Error('a name is none')
  const networkKey = new Uint8Array(fromText(file.networkKey))
  const list = openList(decodeSigned(fromText(file.list), LIMITS.listBytes))
  if (networkKey.length !== 32 || list.list.meshId !== meshId) throw new Error('key or list do not belong together')
  return { meshId, meshName, networkKey, nodeName, list, bootstrap: parseBootstrap(file.bootstrap) }
}

function parseBootstrap(value: unknown): BootstrapPeer[] {
  if (!Array.isArray(value) || value.length > MAX_BOOTSTRAP) throw new Error('the bootstrap peers are no list')
  return value.map((item: unknown) => {
    const { peer, addresses } = exactObject(item, 'peer', 'addresses') ?? {}
    if (typeof peer !== 'string' || !isNodeId(peer) || !isTextList(addresses, LIMITS.addresses, 256))
      throw new Error('a bootstrap peer is none')
    return { peer, addresses }
  })
}

function isName(value: unknown): value is string {
  return typeof value === 'string' && isPlainText(value, LIMITS.nameBytes)
}

function fromText(value: unknown): Buffer {
  if (typeof value !== 'string') throw new Error('bytes are no text')
  return Buffer.from(value, 'base64url')
}
