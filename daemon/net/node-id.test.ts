import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import { peerIdFromPrivateKey, peerIdFromString } from '@libp2p/peer-id'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  isNodeId,
  nodeIdFromPublicKey,
  nodeIdFromSeed,
  publicKeyFromNodeId,
  publicKeyFromSeed,
} from '../../protocol/node-id.ts'

const seeds = fc.uint8Array({ minLength: 32, maxLength: 32 })

test('ids equal those of the library, and lead back to the public key', async () => {
  await fc.assert(
    fc.asyncProperty(seeds, async (seed) => {
      const id = nodeIdFromSeed(seed)
      const peerId = peerIdFromPrivateKey(await generateKeyPairFromSeed('Ed25519', seed))
      expect(id).toBe(peerId.toString())
      expect(publicKeyFromNodeId(id)).toEqual(publicKeyFromSeed(seed))
      expect(publicKeyFromNodeId(id)).toEqual(Uint8Array.from(peerId.publicKey?.raw ?? []))
      expect(nodeIdFromPublicKey(publicKeyFromNodeId(id))).toBe(id)
    }),
    { numRuns: 50 },
  )
})

test('text that is not a node id is refused, and whatever is accepted is one for the library too', () => {
  const id = nodeIdFromSeed(new Uint8Array(32))
  for (const text of [
    '',
    'x',
    id.slice(1),
    `1${id}`,
    `${id}1`,
    id.replace(/.$/, '0'),
    id.replace(/.$/, 'l'),
    'Qm'.padEnd(52, 'a'),
    '1'.repeat(52),
  ]) {
    expect(isNodeId(text), text).toBe(false)
  }
  fc.assert(
    fc.property(
      fc.nat(51),
      fc.constantFrom(...'123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'),
      (at, char) => {
        const changed = id.slice(0, at) + char + id.slice(at + 1)
        if (isNodeId(changed)) expect(peerIdFromString(changed).toString()).toBe(changed)
      },
    ),
  )
})

test('keys of another length are refused', () => {
  expect(() => nodeIdFromPublicKey(new Uint8Array(31))).toThrow(/31 bytes/)
  expect(() => nodeIdFromSeed(new Uint8Array(33))).toThrow(/33 bytes/)
})
