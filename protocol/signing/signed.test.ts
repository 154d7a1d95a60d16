import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { MeshError } from '../errors.ts'
import { decodeSigned, encodeSigned, isAuthentic, signBody } from './signed.ts'
import { DOMAINS, signerFromSeed, verifyData } from './signing.ts'

const seed = fc.uint8Array({ minLength: 32, maxLength: 32 })
const body = fc.uint8Array({ minLength: 1, maxLength: 200 })

describe('signed bodies', () => {
  test('what was signed verifies after a round trip, and from the node id alone', () => {
    fc.assert(
      fc.property(seed, body, (key, text) => {
        const signed = decodeSigned(encodeSigned(signBody(signerFromSeed(key), DOMAINS.card, text)), 4096)
        expect(isAuthentic(signed, DOMAINS.card)).toBe(true)
        expect(signed.body).toEqual(text)
      }),
      { numRuns: 50 },
    )
  })

  test('no change of body, signer, signature or domain verifies', () => {
    fc.assert(
      fc.property(seed, seed, body, fc.nat(), (key, other, text, at) => {
        const signed = signBody(signerFromSeed(key), DOMAINS.card, text)
        const flip = (bytes: Uint8Array) => bytes.map((byte, index) => (index === at % bytes.length ? byte ^ 1 : byte))
        expect(isAuthentic(signed, DOMAINS.memberList)).toBe(false)
        expect(isAuthentic({ ...signed, body: flip(text) }, DOMAINS.card)).toBe(false)
        expect(isAuthentic({ ...signed, signature: flip(signed.signature) }, DOMAINS.card)).toBe(false)
        fc.pre(!Buffer.from(key).equals(Buffer.from(other)))
        expect(isAuthentic({ ...signed, signer: signerFromSeed(other).nodeId }, DOMAINS.card)).toBe(false)
      }),
      { numRuns: 50 },
    )
  })

  test('any bytes decode or are refused with a typed error', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        try {
          decodeSigned(bytes, 256)
        } catch (error) {
          expect(error).toBeInstanceOf(MeshError)
        }
      }),
    )
  })

  test('verifying never throws, whatever is called a node id', () => {
    fc.assert(fc.property(fc.string(), (text) => verifyData(text, new Uint8Array(3), new Uint8Array(64)) === false))
  })
})
