import { describe, expect, test } from 'vitest'
import { type AdmissionContext, admitRecord, type RecordFacts } from './admission.ts'

const OWNER = 'owner'
const chain = ['d1', 'd2', 'd3']

function context(more: Partial<AdmissionContext> = {}): AdmissionContext {
  return {
    artifact: 'art',
    owner: OWNER,
    head: { sequence: 3, digest: 'd3', epoch: 2 },
    digestAt: (sequence) => chain[sequence - 1],
    isMember: () => true,
    ...more,
  }
}

function record(more: Partial<RecordFacts> = {}): RecordFacts {
  const base = { artifact: 'art', writer: OWNER, signer: OWNER, sequence: 4, digest: 'd4', previous: 'd3', epoch: 2 }
  return { ...base, hasSettings: false, ...more }
}

const genesis = { artifact: 'art', owner: OWNER }
const first = (more: Partial<RecordFacts> = {}) =>
  record({ sequence: 1, digest: 'd1', previous: null, genesis, hasSettings: true, ...more })
const empty = context({ head: undefined, digestAt: () => undefined })

describe('admission of a record from elsewhere', () => {
  test('the next one of a chain, and the first of a new writer', () => {
    expect(admitRecord(record(), context())).toEqual({ type: 'accept' })
    expect(admitRecord(first(), empty)).toEqual({ type: 'accept' })
    const writer = { writer: 'w', signer: 'w', sequence: 1, previous: null, epoch: 0 }
    expect(admitRecord(record(writer), empty)).toEqual({ type: 'accept' })
  })

  test('what is held already changes nothing, and what is missing before is asked for', () => {
    expect(admitRecord(record({ sequence: 3, digest: 'd3', previous: 'd2' }), context())).toEqual({ type: 'known' })
    expect(admitRecord(record({ sequence: 6, previous: 'd5' }), context())).toEqual({ type: 'gap', after: 3 })
  })

  test('GIT-13 an older signed ref set served again moves nothing', () => {
    expect(admitRecord(record({ sequence: 2, digest: 'd2', previous: 'd1' }), context())).toEqual({ type: 'known' })
  })

  test.each([
    ['GIT-13 a signed ref set of another artifact', record({ artifact: 'other' }), 'other-artifact'],
    ['GIT-13 a genesis of another artifact', first({ genesis: { artifact: 'other', owner: OWNER } }), 'genesis'],
    ['a genesis that names another owner', first({ genesis: { artifact: 'art', owner: 'w' } }), 'genesis'],
    ['an owner’s first record without genesis', first({ genesis: undefined }), 'genesis'],
    ['a genesis of a writer who is not the owner', first({ writer: 'w', signer: 'w', hasSettings: false }), 'genesis'],
    ['a record that somebody else signed', record({ signer: 'w' }), 'other-signer'],
    ['settings of somebody else', record({ writer: 'w', signer: 'w', hasSettings: true }), 'not-the-owners'],
    ['a first record with a predecessor', first({ previous: 'd0' }), 'chain'],
    ['a later record without one', record({ previous: null }), 'chain'],
    ['a lower epoch', record({ epoch: 1 }), 'lower-epoch'],
  ])('%s is refused', (_what, facts, why) => {
    expect(admitRecord(facts, facts.sequence === 1 ? empty : context())).toEqual({ type: 'refuse', why })
  })

  test.each([
    ['at the head', record({ sequence: 3, digest: 'x3', previous: 'd2' }), 3],
    ['below it', record({ sequence: 2, digest: 'x2', previous: 'd1' }), 2],
    ['shown by what it says came before', record({ previous: 'x3' }), 3],
  ])('GIT-13 two records for one sequence are an equivocation: %s', (_where, facts, sequence) => {
    expect(admitRecord(facts, context())).toEqual({ type: 'equivocation', sequence })
  })

  test('nothing more is taken of a frozen writer, nor of one that was put out', () => {
    const frozen = context({ head: { sequence: 3, digest: 'd3', epoch: 2, frozen: true } })
    expect(admitRecord(record(), frozen)).toEqual({ type: 'refuse', why: 'frozen' })
    const out = context({ isMember: () => false })
    expect(admitRecord(record(), out)).toEqual({ type: 'refuse', why: 'quarantined' })
  })
})
