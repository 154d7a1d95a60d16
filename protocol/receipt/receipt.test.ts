import { createPublicKey, verify } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ReceiptEnvelope } from '../api.ts'
import { GRADES } from '../job.ts'
import { publicKeyFromNodeId } from '../node-id.ts'
import { signerFromSeed } from '../signing/signing.ts'
import { preAuthEncoding, sealEnvelope } from './dsse.ts'
import { makeReceipt, NO_RECEIPTS, type ReceiptFacts, verifyReceipt, verifyReceiptChain } from './receipt.ts'
import { PAYLOAD_TYPE } from './statement.ts'

const signer = signerFromSeed(new Uint8Array(32).fill(1))
const other = signerFromSeed(new Uint8Array(32).fill(2))
const count = fc.nat({ max: Number.MAX_SAFE_INTEGER })
const hex = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString('hex'))
const millis = fc.double({ min: 0, max: 1e9, noNaN: true })
const limits = fc.record({
  wallMs: count,
  cpuMs: count,
  memoryBytes: count,
  outputBytes: count,
  logBytes: count,
  hostCalls: count,
  hostCallBytes: count,
})
const usage = fc.record({
  wallMs: millis,
  cpuMs: millis,
  memoryBytes: count,
  outputBytes: count,
  logBytes: count,
  hostCalls: count,
  calls: count,
})
const ending = fc.oneof(
  hex.map((output) => ({ output })),
  fc.constantFrom('E_GUEST' as const, 'E_CANCELED' as const).map((error) => ({ error })),
)
const facts: fc.Arbitrary<ReceiptFacts> = fc
  .record({
    task: fc.string({ minLength: 1, maxLength: 60, unit: 'grapheme-ascii' }),
    epoch: count,
    kind: fc.constantFrom('run', 'batch', 'session'),
    delegator: fc.constant(other.nodeId),
    program: hex,
    input: hex,
    grade: fc.constantFrom(...GRADES),
    limits,
    usage,
    piece: fc.record({ from: count, count }),
    startedAtMs: fc.nat({ max: 2 ** 42 }),
    endedAtMs: fc.nat({ max: 2 ** 42 }),
  })
  .chain((base) => ending.map((end) => ({ ...base, ...end })))

const sample: ReceiptFacts = fc.sample(facts, { numRuns: 1, seed: 1 })[0] ?? expect.unreachable()
const rewritten = (envelope: ReceiptEnvelope, change: (payload: string) => string) =>
  sealEnvelope(signer, PAYLOAD_TYPE, Buffer.from(change(Buffer.from(envelope.payload, 'base64').toString())))

describe('receipts', () => {
  test('what a node says it did can be read from the receipt alone', () => {
    fc.assert(
      fc.property(facts, (value) => {
        const { envelope } = makeReceipt(signer, value, NO_RECEIPTS)
        const check = verifyReceipt(JSON.parse(JSON.stringify(envelope)))
        const outcome = value.output !== undefined ? 'completed' : value.error === 'E_CANCELED' ? 'canceled' : 'failed'
        const said = {
          task: value.task,
          epoch: value.epoch,
          program: value.program,
          input: value.input,
          outcome,
          sequence: 1,
          previous: '',
        }
        expect(check).toMatchObject({ valid: true, node: signer.nodeId, ...said })
        expect(check.output).toBe(value.output)
      }),
      { numRuns: 60 },
    )
  })

  test('the signature is plain Ed25519 over the DSSE encoding: any tool can check it', () => {
    const { envelope } = makeReceipt(signer, sample, NO_RECEIPTS)
    const spki = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), publicKeyFromNodeId(signer.nodeId)])
    const signed = Buffer.concat([
      Buffer.from(`DSSEv1 28 application/vnd.in-toto+json ${Buffer.from(envelope.payload, 'base64').length} `),
      Buffer.from(envelope.payload, 'base64'),
    ])
    const key = createPublicKey({ key: spki, format: 'der', type: 'spki' })
    expect(verify(null, signed, key, Buffer.from(envelope.signatures[0]?.sig ?? '', 'base64'))).toBe(true)
    expect(Buffer.from(preAuthEncoding('http://example.com/HelloWorld', Buffer.from('hello world'))).toString()).toBe(
      'DSSEv1 29 http://example.com/HelloWorld 11 hello world',
    )
  })

  test('no change of any character of the envelope is accepted', () => {
    const text = JSON.stringify(makeReceipt(signer, sample, NO_RECEIPTS).envelope)
    fc.assert(
      fc.property(fc.nat(text.length - 1), fc.constantFrom('A', 'b', '1', '/', '"', ' '), (at, char) => {
        const bad = text.slice(0, at) + char + text.slice(at + 1)
        fc.pre(bad !== text)
        let value: unknown
        try {
          value = JSON.parse(bad)
        } catch {
          return
        }
        expect(verifyReceipt(value).valid).toBe(false)
      }),
      { numRuns: 400 },
    )
  })

  test.each<[string, (payload: string) => string]>([
    ['a key twice', (text) => text.replace('"epoch":', '"epoch":1,"epoch":')],
    ['an unknown key', (text) => text.replace('"epoch":', '"paid":true,"epoch":')],
    ['another predicate', (text) => text.replace('receipt/v1', 'receipt/v9')],
    ['another order or spacing', (text) => text.replace('{"_type"', '{ "_type"')],
    ['a number in another spelling', (text) => text.replace('"sequence":1', '"sequence":1.0')],
    ['another node', (text) => text.replace(`"node":"${signer.nodeId}"`, `"node":"${other.nodeId}"`)],
    ['not JSON', () => '{'],
    ['deep nesting', () => '['.repeat(10_000)],
  ])('refuses a statement with %s although its signature is right', (_what, change) => {
    const { envelope } = makeReceipt(signer, sample, NO_RECEIPTS)
    expect(verifyReceipt(rewritten(envelope, (text) => text)).valid).toBe(true)
    const check = verifyReceipt(rewritten(envelope, change))
    expect(check.valid).toBe(false)
    expect(check.reason).toContain('Cannot trust the receipt')
  })

  test('anything at all is answered with a check', () => {
    fc.assert(fc.property(fc.anything(), (value) => verifyReceipt(value).valid === false))
  })

  test('a chain holds in any order, with gaps, and breaks where a receipt is replaced', () => {
    let chain = NO_RECEIPTS
    const envelopes: ReceiptEnvelope[] = []
    for (let epoch = 1; epoch <= 6; epoch++) {
      const made = makeReceipt(signer, { ...sample, epoch }, chain)
      envelopes.push(made.envelope)
      chain = made.chain
    }
    expect(verifyReceiptChain(envelopes.toReversed())).toEqual({ valid: true, missing: [] })
    expect(verifyReceiptChain([0, 1, 5].flatMap((at) => envelopes[at] ?? []))).toEqual({
      valid: true,
      missing: [3, 4, 5],
    })
    const forged = makeReceipt(signer, { ...sample, epoch: 99 }, { sequence: 2, last: 'f'.repeat(64) }).envelope
    expect(verifyReceiptChain([...envelopes.slice(0, 2), forged])).toMatchObject({
      valid: false,
      reason: 'Receipt 3 does not follow receipt 2',
    })
    expect(verifyReceiptChain([...envelopes, forged]).reason).toContain('two different')
    expect(verifyReceiptChain([...envelopes, makeReceipt(other, sample, NO_RECEIPTS).envelope])).toMatchObject({
      valid: false,
    })
  })
})
