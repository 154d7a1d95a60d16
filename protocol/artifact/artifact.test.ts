import { execFileSync } from 'node:child_process'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { MeshError } from '../errors.ts'
import { signerFromSeed } from '../signing/signing.ts'
import { canonicalJson } from './canonical-json.ts'
import { filePathFault } from './file-path.ts'
import { artifactId, type Genesis, isArtifactId } from './genesis.ts'
import { type ArtifactRecord, openRecord, sealRecord } from './record.ts'
import { isRefName, nameConflict, refNameFault } from './ref-name.ts'
import { settingsSchema } from './settings.ts'

const signer = signerFromSeed(new Uint8Array(32).fill(1))
const other = signerFromSeed(new Uint8Array(32).fill(2))
const genesis: Genesis = {
  v: 1,
  owner: signer.nodeId,
  nonce: '0123456789abcdef'.repeat(2),
  defaultBranch: 'main',
  createdAt: 1_700_000_000_000,
}
const settings = settingsSchema.parse({ name: 'notes' })
const oid = fc.stringMatching(/^[0-9a-f]{40}$/)
const component = fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9._+=@#,-]{0,12}$/)
const refName = fc
  .tuple(fc.constantFrom('heads', 'tags', 'notes', 'proposals'), fc.array(component, { minLength: 1, maxLength: 4 }))
  .map(([kind, parts]) => `refs/${kind}/${parts.join('/')}`)
  .filter(isRefName)

function first(more: Partial<ArtifactRecord> = {}): ArtifactRecord {
  const facts = {
    v: 1,
    artifact: artifactId(genesis),
    writer: signer.nodeId,
    sequence: 1,
    previous: null,
    epoch: 0,
    refs: {},
    moves: [],
    by: {},
    at: 1,
  } as const
  return { ...facts, moves: [], genesis, settings, ...more }
}

describe('canonicalJson()', () => {
  test('says the same of equal values, whatever the order of keys, and reads back', () => {
    fc.assert(
      fc.property(fc.jsonValue({ depthSize: 'small' }), (value) => {
        const clean: unknown = JSON.parse(JSON.stringify(value), (_, member: unknown) =>
          typeof member === 'number' ? Math.trunc(member) % 1e9 : member,
        )
        const text = canonicalJson(clean)
        expect(canonicalJson(JSON.parse(text))).toBe(text)
        expect(JSON.stringify(JSON.parse(text))).toBe(JSON.stringify(JSON.parse(canonicalJson(reversed(clean)))))
      }),
    )
  })

  test.each([0.5, Number.NaN, 2 ** 53, '\ud800', undefined, () => 1, 1n])(
    'refuses %s, which has no one spelling',
    (value) => {
      expect(() => canonicalJson(value)).toThrow(TypeError)
    },
  )
})

function reversed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reversed)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([key, member]) => [key, reversed(member)]),
  )
}

describe('artifactId()', () => {
  test('names owner, branch, time and nonce: no change keeps the id', () => {
    const id = artifactId(genesis)
    expect(isArtifactId(id)).toBe(true)
    expect(id).toBe('azflyv6hpxfjtgsvpfgzeqdccreuooy4x')
    for (const change of [
      { owner: other.nodeId },
      { nonce: 'f'.repeat(32) },
      { defaultBranch: 'trunk' },
      { createdAt: 1 },
    ]) {
      expect(artifactId({ ...genesis, ...change })).not.toBe(id)
    }
  })
})

describe('ref names', () => {
  test('whatever is accepted, Git accepts too', () => {
    const names = fc.sample(refName, { numRuns: 60, seed: 1 })
    for (const name of names) execFileSync('git', ['check-ref-format', name])
  })

  test.each([
    'refs/heads/-x',
    'refs/heads/a;id',
    'refs/heads/$(id)',
    'refs/heads/__proto__/x',
    'refs/heads/a\u202eb',
    'refs/heads/../x',
    'refs/heads/a..b',
    'refs/heads/.a',
    'refs/heads/a.',
    'refs/heads/a.lock',
    'refs/heads/a.lock/b',
    'refs/heads/',
    'refs/heads',
    'refs/heads//a',
    'refs/heads/a/',
    'refs/heads/HEAD',
    `refs/heads/${'a'.repeat(40)}`,
    'refs/heads/a b',
    'refs/heads/a\\b',
    'refs/heads/a~1',
    'refs/heads/a^',
    'refs/heads/a:b',
    'refs/heads/a?',
    'refs/heads/a*',
    'refs/heads/a[',
    'refs/heads/a\n',
    'refs/heads/\0',
    'refs/heads/@{u}',
    'refs/manyhands/records/x',
    'refs/remotes/origin/a',
    'refs/mesh/x',
    'HEAD',
    'main',
    'refs/heads/ä',
    `refs/heads/${'x'.repeat(200)}`,
    `refs/heads/${'x/'.repeat(17)}x`,
    'REFS/heads/a',
    'refs/Heads/a',
  ])('GIT-11, GIT-14: %j is refused', (name) => {
    expect(refNameFault(name)).toBeTypeOf('string')
  })

  test('any text is judged, never thrown at', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: 'binary' }),
          fc.string().map((text) => `refs/heads/${text}`),
        ),
        (name) => {
          const isAccepted = refNameFault(name) === undefined
          expect(isRefName(name)).toBe(isAccepted)
          if (isAccepted) expect(name).toMatch(/^refs\/(heads|tags|notes|proposals)\/[\x21-\x7e]+$/)
        },
      ),
    )
  })

  test('two names conflict if and only if one is a folder of the other', () => {
    fc.assert(
      fc.property(fc.array(refName, { maxLength: 6 }), (names) => {
        const clash = [...names].some((a) => names.some((b) => b.startsWith(`${a}/`)))
        expect(nameConflict(names) !== undefined).toBe(clash)
      }),
    )
    expect(nameConflict(['refs/heads/a', 'refs/heads/a-b', 'refs/heads/a/b'])).toEqual([
      'refs/heads/a',
      'refs/heads/a/b',
    ])
  })
})

test('any text is judged as a path, and no accepted one leads out of a folder', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string({ unit: 'binary' }),
        fc.string({ unit: fc.constantFrom('.', '/', 'g', 'i', 't', 'G', '~', '1', '\u200c', ' ', ':') }),
      ),
      (path) => {
        if (filePathFault(path) !== undefined) return
        for (const part of path.split('/')) {
          expect(['', '.', '..']).not.toContain(part)
          expect(part.replaceAll('\u200c', '').toLowerCase()).not.toBe('.git')
        }
      },
    ),
  )
})

describe('records', () => {
  test('what was sealed opens to the same, from the text alone', () => {
    fc.assert(
      fc.property(fc.dictionary(refName, oid, { maxKeys: 5 }), fc.nat(), (refs, at) => {
        fc.pre(nameConflict(Object.keys(refs)) === undefined)
        const moves = Object.entries(refs).map(([ref, tip]) => ({ ref, old: null, new: tip }))
        const sealed = sealRecord(signer, first({ refs, moves, at }))
        expect(openRecord(sealed.text)).toEqual(sealed)
      }),
      { numRuns: 40 },
    )
  })

  test('no other text opens: cut, changed, spelled otherwise, or anything', () => {
    const { text } = sealRecord(signer, first())
    fc.assert(
      fc.property(fc.nat(text.length - 1), fc.constantFrom('A', 'b', '"', ' ', '{'), (at, char) => {
        fc.pre(text[at] !== char)
        for (const changed of [
          text.slice(0, at),
          text.slice(0, at) + char + text.slice(at + 1),
          text.slice(0, at) + char + text.slice(at),
        ]) {
          expect(() => openRecord(changed)).toThrow(MeshError)
        }
      }),
      { numRuns: 200 },
    )
    fc.assert(
      fc.property(fc.string(), (any) => {
        expect(() => openRecord(any)).toThrow(MeshError)
      }),
    )
    expect(() => openRecord(JSON.stringify(JSON.parse(text), undefined, 1))).toThrow(/one spelling/)
  })

  test('GIT-13: one that is signed but says what it may not is refused by signer and reader alike', () => {
    const refs = { 'refs/heads/a': 'a'.repeat(40) }
    const cases: Partial<ArtifactRecord>[] = [
      { artifact: `a${'b'.repeat(32)}` },
      { sequence: 2 },
      { previous: 'f'.repeat(64) },
      { settings: undefined },
      { moves: [{ ref: 'refs/heads/a', old: null, new: 'a'.repeat(40) }] },
      { refs: { ...refs, 'refs/heads/a/b': 'a'.repeat(40) } },
      {
        refs: Object.fromEntries(
          Array.from({ length: 1025 }, (_, number) => [`refs/heads/n${number}`, 'a'.repeat(40)]),
        ),
      },
    ]
    for (const change of cases) expect(() => sealRecord(signer, first(change))).toThrow(MeshError)
    expect(() => sealRecord(other, first({ writer: other.nodeId }))).toThrow(/genesis/)
    expect(() => openRecord(sealRecord(other, first()).text)).toThrow(/another node signed/)
  })
})
