/**
 * The identity of a node: an Ed25519 seed in one private file, JSON `{"version":1,"nodeId":"...","seed":"<base64url, 32 bytes>"}`. The node id is written beside the
 * seed it follows from, so that a damaged file is noticed and not taken for another identity. A missing file is made only where the caller says so: a node that
 * lost its identity must not silently become a stranger.
 */
import { randomBytes } from 'node:crypto'
import { dirname } from 'node:path'
import { MeshError } from '../../protocol/errors.ts'
import { nodeIdFromSeed } from '../../protocol/node-id.ts'
import { type Signer, signerFromSeed } from '../../protocol/signing/signing.ts'
import { exactObject } from '../files/exact-object.ts'
import { createPrivateFile, ensurePrivateFolder, readPrivateFile } from '../files/private-file.ts'

export interface Identity {
  readonly nodeId: string
  /** 32 bytes; never leaves the daemon */
  readonly seed: Uint8Array
  readonly signer: Signer
}

const MAX_FILE_BYTES = 4096

/** @throws MeshError E_IDENTITY missing or damaged, E_INSECURE_FILE readable by others or a link */
export async function readIdentity(path: string): Promise<Identity> {
  const identity = await findIdentity(path)
  if (identity) return identity
  throw new MeshError('E_IDENTITY', `Cannot find the identity of this node: ${path} does not exist`, {
    hint: 'Restore it from a copy. `manyhands up` makes a new one only on a host that has no journal yet.',
  })
}

/** The identity, or undefined where there is none. @throws MeshError E_IDENTITY, E_INSECURE_FILE */
export async function findIdentity(path: string): Promise<Identity | undefined> {
  const bytes = await readPrivateFile(path, MAX_FILE_BYTES)
  return bytes && parseIdentity(bytes, path)
}

/** Makes an identity, or reads the one that is there. @throws MeshError E_IDENTITY, E_INSECURE_FILE */
export async function createIdentity(path: string): Promise<Identity> {
  await ensurePrivateFolder(dirname(path))
  const seed = new Uint8Array(randomBytes(32))
  const file = { version: 1, nodeId: nodeIdFromSeed(seed), seed: Buffer.from(seed).toString('base64url') }
  await createPrivateFile(path, `${JSON.stringify(file)}\n`)
  // Read back what counts: another process may have been first.
  return readIdentity(path)
}

function parseIdentity(bytes: Buffer, path: string): Identity {
  const file = parsed(bytes)
  const seed = new Uint8Array(Buffer.from(file?.seed ?? '', 'base64url'))
  if (!file || seed.length !== 32 || nodeIdFromSeed(seed) !== file.nodeId) {
    throw new MeshError('E_IDENTITY', `Cannot use the identity in ${path}: the file is damaged`, {
      hint: 'Restore it from a copy.',
    })
  }
  return { nodeId: file.nodeId, seed, signer: signerFromSeed(seed) }
}

function parsed(bytes: Buffer): { readonly nodeId: string; readonly seed: string } | undefined {
  try {
    const file = exactObject(JSON.parse(bytes.toString('utf8')), 'version', 'nodeId', 'seed')
    if (file?.version !== 1 || typeof file.nodeId !== 'string' || typeof file.seed !== 'string') return undefined
    return { nodeId: file.nodeId, seed: file.seed }
  } catch {
    return undefined
  }
}
