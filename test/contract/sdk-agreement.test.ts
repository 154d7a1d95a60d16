/** Where the SDK has its own copy of a rule of the daemon, both must say the same. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { isAbsolute, join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { DUPLEX_LIMITS } from '../../daemon/api/duplex/limits.ts'
import { openTokens } from '../../daemon/api/tokens.ts'
import { EXIT } from '../../daemon/cli/exit.ts'
import { resolvePaths } from '../../daemon/config/paths.ts'
import { userPaths } from '../../daemon/config/user-paths.ts'
import { DUPLEX as CONTRACT } from '../../protocol/api.ts'
import { ERRORS } from '../../protocol/errors.ts'
import { NO_USAGE } from '../../protocol/job.ts'
import {
  makeCommitsReceipt,
  makeReceipt,
  NO_RECEIPTS,
  openReceipt,
  receiptDigest,
  verifyReceipt as daemonVerify,
  verifyReceiptChain,
} from '../../protocol/receipt/receipt.ts'
import { sealEnvelope } from '../../protocol/receipt/dsse.ts'
import { signerFromSeed } from '../../protocol/signing/signing.ts'
import { verifyReceipt } from '../../sdk/src/index.ts'
import { DUPLEX } from '../../sdk/src/duplex.ts'
import { LIMITS } from '../../sdk/src/limits.ts'
import { daemonPaths, resolveDaemonPaths } from '../../sdk/src/node/paths.ts'
import { newChallenge } from '../../sdk/src/proof.ts'

describe('the SDK and the daemon agree', () => {
  it('on where the socket and the token are', () => {
    const folder = fc.oneof(
      fc.constantFrom(undefined, '', 'relative', '/a', `/${'long/'.repeat(30)}`, '/x y'),
      fc.string(),
    )
    const env = fc.record({ MANYHANDS_HOME: folder, XDG_DATA_HOME: folder, XDG_RUNTIME_DIR: folder, TMPDIR: folder })
    fc.assert(
      fc.property(env, fc.nat(100_000), (variables, uid) => {
        const { socket, tokenFile, socketFile } = resolvePaths(variables, uid, '/home/u')
        expect(resolveDaemonPaths(variables, uid, '/home/u')).toEqual({ socket, tokenFile, socketFile })
      }),
    )
  })

  it.each(['', 'relative'])('on whose folders they are where HOME is "%s"', (home) => {
    vi.stubEnv('HOME', home)
    for (const name of ['MANYHANDS_HOME', 'XDG_DATA_HOME', 'XDG_RUNTIME_DIR']) vi.stubEnv(name, undefined)
    const { tokenFile } = daemonPaths()
    expect([tokenFile, isAbsolute(tokenFile)]).toEqual([userPaths().tokenFile, true])
    vi.unstubAllEnvs()
  })

  it('on how many calls may be open', () => {
    expect(LIMITS.sessionCalls).toBe(DUPLEX_LIMITS.openCalls)
  })

  it('on how a daemon proves itself with each of its tokens, and with no other', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'mh-proof-'))
    try {
      const admin = 'admin-token-of-this-node-0123456789'
      await writeFile(join(folder, 'token'), admin, { mode: 0o600 })
      const tokens = await openTokens(join(folder, 'token'), join(folder, 'tokens.json'))
      const known = [admin, await tokens.create('ci', 'run'), await tokens.create('page', 'read')]
      const answer = (path: string): string => {
        const { searchParams } = new URL(path, 'http://localhost')
        const proof = tokens.prove(searchParams.get('nonce') ?? '', searchParams.get('token') ?? undefined)
        return JSON.stringify({ proof: proof ?? 'none', version: '1' })
      }
      for (const token of known) {
        const { path, requireProof } = await newChallenge(token)
        await requireProof(200, answer(path))
        const other = await newChallenge(token)
        await expect(other.requireProof(200, answer(path))).rejects.toMatchObject({ code: 'E_UNPROVEN' })
      }
      await tokens.revoke('ci')
      for (const token of [known[1] ?? '', 'a token of another node']) {
        const { path, requireProof } = await newChallenge(token)
        expect(path).not.toContain(token)
        await expect(requireProof(200, answer(path))).rejects.toMatchObject({ code: 'E_UNPROVEN' })
      }
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  })

  it('on the duplex', () => expect(DUPLEX).toEqual(CONTRACT))

  it('on exit codes', () => {
    expect(EXIT).toEqual(Object.fromEntries(Object.entries(ERRORS).map(([code, row]) => [code, row.exit])))
  })
})

const signer = signerFromSeed(new Uint8Array(32).fill(1))
const other = signerFromSeed(new Uint8Array(32).fill(2))
const hash = 'a'.repeat(64)
const base = {
  task: 't1',
  epoch: 3,
  delegator: other.nodeId,
  program: hash,
  input: 'b'.repeat(64),
  grade: 'jailed',
  limits: { wallMs: 1, cpuMs: 2, memoryBytes: 3, outputBytes: 4, logBytes: 5, hostCalls: 6, hostCallBytes: 7 },
  usage: { ...NO_USAGE, wallMs: 1.25 },
  startedAtMs: 1000,
  endedAtMs: 2000,
} as const

const completed = makeReceipt(signer, { ...base, kind: 'run', output: 'c'.repeat(64) }, NO_RECEIPTS)
const envelopes = [
  completed.envelope,
  makeReceipt(signer, { ...base, kind: 'batch', error: 'E_MEMORY', piece: { from: 5, count: 2 } }, completed.chain)
    .envelope,
  makeReceipt(signer, { ...base, kind: 'session', error: 'E_CANCELED' }, completed.chain).envelope,
]

const read = { artifact: `a${'b'.repeat(32)}`, commit: 'd'.repeat(40) }
const given = { artifact: `a${'c'.repeat(32)}`, ref: 'refs/heads/main', commit: 'e'.repeat(40) }
const ofCommits = { task: 't1', work: receiptDigest(completed.envelope), atMs: 3000 }
const commits = makeCommitsReceipt(signer, { ...ofCommits, input: read, output: given }, completed.chain).envelope

describe('receipts: the verdicts of the SDK and the daemon', () => {
  it('accept the same', () => {
    for (const envelope of envelopes) {
      const verdict = verifyReceipt(JSON.parse(JSON.stringify(envelope)))
      expect(verdict).toMatchObject({ valid: true, node: signer.nodeId, task: 't1', epoch: 3 })
      expect(verdict).toEqual(daemonVerify(envelope))
    }
  })

  it('accept the same of commits, as links of the same chain', () => {
    const both = [
      commits,
      makeCommitsReceipt(signer, { ...ofCommits, input: read }, completed.chain).envelope,
      makeCommitsReceipt(signer, { ...ofCommits, output: given }, completed.chain).envelope,
    ]
    const verdicts = both.map((envelope) => verifyReceipt(JSON.parse(JSON.stringify(envelope))))
    expect(verdicts).toEqual(both.map(daemonVerify))
    expect(verdicts).toMatchObject([
      { valid: true, node: signer.nodeId, work: ofCommits.work, commits: { input: read, output: given }, sequence: 2 },
      { valid: true, commits: { input: read } },
      { valid: true, commits: { output: given } },
    ])
    expect(verifyReceiptChain([commits, completed.envelope])).toEqual({ valid: true, missing: [] })
    expect(openReceipt(commits), 'it is no receipt of work').toBeTypeOf('string')
  })

  it('refuse the same of commits', () => {
    const payload = Buffer.from(commits.payload, 'base64').toString()
    const texts = [
      payload.replace('"gitCommit":"e', '"gitCommit":"f'),
      payload.replace(`"name":"${given.artifact}"`, `"name":"${read.artifact}"`),
      payload.replace(`"input":${JSON.stringify(read)},`, '').replace(/"output":\{[^}]*\},/, ''),
      payload.replace('refs/heads/main', 'main'),
      payload.replace(read.commit, 'HEAD'),
      payload.replace('commits/v1', 'commits/v2'),
      payload.replace('commits/v1', 'receipt/v1'),
      payload.replace('"task":"t1"', '"task":"t1","more":1'),
      payload.replace('"sequence":2', '"sequence":1'),
      payload.replace(signer.nodeId, other.nodeId),
      payload.replace('"work"', ' "work"'),
    ]
    for (const text of texts) {
      expect(text).not.toBe(payload)
      const envelope = sealEnvelope(signer, 'application/vnd.in-toto+json', Buffer.from(text))
      expect(daemonVerify(envelope), text).toMatchObject({ valid: false })
      expect(verifyReceipt(envelope), text).toMatchObject({ valid: false })
    }
  })

  it('refuse the same, whatever is changed in the envelope', () => {
    const [envelope] = envelopes
    const flip = (text: string, at: number) =>
      `${text.slice(0, at)}${text[at] === 'A' ? 'B' : 'A'}${text.slice(at + 1)}`
    const [signature] = envelope?.signatures ?? []
    const changes: unknown[] = [
      null,
      [],
      {},
      'text',
      { ...envelope, payloadType: 'text/plain' },
      { ...envelope, payload: flip(envelope?.payload ?? '', 40) },
      { ...envelope, payload: `${envelope?.payload ?? ''}=` },
      { ...envelope, payload: '%%%' },
      { ...envelope, extra: 1 },
      { ...envelope, signatures: [] },
      { ...envelope, signatures: [signature, signature] },
      { ...envelope, signatures: [{ ...signature, sig: flip(signature?.sig ?? '', 3) }] },
      { ...envelope, signatures: [{ ...signature, keyid: other.nodeId }] },
      { ...envelope, signatures: [{ ...signature, keyid: 'nobody' }] },
      { ...envelope, signatures: [{ ...signature, more: 1 }] },
    ]
    for (const change of changes) {
      expect(daemonVerify(change)).toMatchObject({ valid: false })
      expect(verifyReceipt(change)).toEqual(daemonVerify(change))
    }
  })

  it('refuse the same statements, though they are signed', () => {
    const payload = Buffer.from(completed.envelope.payload, 'base64').toString()
    const texts = [
      payload.replace('"epoch":3', '"epoch":-1'),
      payload.replace('"epoch":3', '"epoch":3.0'),
      payload.replace('"epoch":3', '"epoch":3,"epoch":4'),
      payload.replace('"epoch":3', '"epoch":3,"more":4'),
      payload.replace('"epoch":3', '"epoch":9007199254740993'),
      payload.replace('"outcome":"completed"', '"outcome":"failed"'),
      payload.replace('"outcome":"completed"', '"outcome":"perhaps"'),
      payload.replace('"sequence":1', '"sequence":2'),
      payload.replace('"sequence":1', '"sequence":0'),
      payload.replace('receipt/v1', 'receipt/v2'),
      payload.replace('{', '{ '),
      payload.replace(signer.nodeId, other.nodeId),
      payload.replace(other.nodeId, 'nobody'),
      payload.replace('"task":"t1"', `"task":"${'t'.repeat(129)}"`),
      payload.replace('"task":"t1"', '"task":""'),
      payload.replace('1970-', '1970/'),
      `${payload} `,
      'not json',
      '[]',
      `"${'x'.repeat(20_000)}"`,
    ]
    for (const text of texts) {
      const envelope = sealEnvelope(signer, 'application/vnd.in-toto+json', Buffer.from(text))
      expect(daemonVerify(envelope), text).toMatchObject({ valid: false })
      expect(verifyReceipt(envelope), text).toMatchObject({ valid: false })
    }
    const binary = sealEnvelope(signer, 'application/vnd.in-toto+json', Buffer.of(0xff, 0xfe))
    expect(verifyReceipt(binary).valid).toBe(false)
  })
})
