/** The main job as a user does it: real daemons, the real SDK and CLI. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { verifyReceipt } from '../../sdk/src/index.ts'
import { RealMesh, type RealNode, until } from '../support/real-mesh.ts'

let mesh: RealMesh
let alice: RealNode
let bob: RealNode
let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mh-e2e-'))
  mesh = await RealMesh.start({ name: 'alice' }, { name: 'bob' }, { name: 'carol' })
  ;[alice, bob] = mesh.nodes as [RealNode, RealNode]
}, 60_000)

afterAll(async () => {
  await mesh?.close()
  await rm(folder, { recursive: true, force: true })
})

const file = async (name: string, text: string): Promise<string> => {
  const path = join(folder, name)
  await writeFile(path, text)
  return path
}

describe('SDK', () => {
  test('runs TypeScript on another node, with logs, a receipt and an explanation', async () => {
    const sdk = await alice.sdk()
    const logs: string[] = []
    const task = await sdk.tasks.run(
      {
        source: 'export default (n: number, _env: object): number => { console.log("n is", n); return n * 2 }',
        filename: 'double.ts',
      },
      { input: 21, requires: { on: 'bob' }, onLog: (line) => logs.push(line.text) },
    )
    expect(task).toMatchObject({ state: 'completed', output: 42 })
    await until(() => logs.length > 0, 'the log line came')
    expect(logs).toEqual(['n is 21'])
    const [receipt] = await sdk.tasks.receipts(task.id)
    expect(verifyReceipt(receipt)).toMatchObject({ valid: true, task: task.id, outcome: 'completed' })
    const { rounds } = await sdk.tasks.explain(task.id)
    expect(rounds[0]?.candidates.find(({ name }) => name === 'bob')).toMatchObject({ outcome: 'chosen' })
  })

  test('host functions of this process are called by a guest on another node', async () => {
    const sdk = await alice.sdk()
    const program =
      'export default async (names, env) => { const out = []; for (const n of names) out.push(await env.lookup(n)); return out }'
    const lookup = async (name: unknown): Promise<string> => `${String(name)}!`
    expect(await sdk.run(program, { input: ['a', 'b'], requires: { on: 'other' }, host: { lookup } })).toEqual([
      'a!',
      'b!',
    ])
  })

  test('a session is bound once and called many times, here and elsewhere', async () => {
    const sdk = await alice.sdk()
    for (const on of ['local', 'other']) {
      const session = await sdk.session<number, number>(
        'let calls = 0; export default (n) => { calls += 1; return n * calls / calls + 1 }',
        { requires: { on } },
      )
      const results = await Promise.all(Array.from({ length: 1_000 }, (_, n) => session.call(n)))
      expect(results).toEqual(Array.from({ length: 1_000 }, (_, n) => n + 1))
      expect(await session.close()).toMatchObject({ state: 'completed' })
    }
  })

  test('a map spreads over the mesh and keeps the order of its inputs', async () => {
    const sdk = await alice.sdk()
    const inputs = Array.from({ length: 2_000 }, (_, n) => n)
    const run = sdk.map<number>(
      'export default (n) => { let s = 0; for (let i = 0; i < 20000; i++) s += i % 7; return n * 3 }',
      inputs,
    )
    expect(await run.all()).toEqual(inputs.map((n) => n * 3))
    const tasks = await run.tasks()
    const nodes = new Set(tasks.flatMap((task) => Object.keys(task.progress?.byNode ?? {})))
    expect(nodes.size).toBeGreaterThan(1)
  })

  test('errors of the guest name its own source, wherever it ran', async () => {
    const sdk = await alice.sdk()
    const source = 'export default (input) => {\n  const value = input.missing.deep\n  return value\n}\n'
    const failed = await sdk
      .run({ source, filename: 'oops.js' }, { input: {}, requires: { on: 'other' } })
      .catch((error: unknown) => error)
    expect(failed).toMatchObject({ code: 'E_GUEST', failure: { name: 'TypeError', file: 'oops.js', line: 2 } })
  })

  test('a signal cancels work on another node', async () => {
    const sdk = await alice.sdk()
    const abort = new AbortController()
    const running = sdk.run('export default () => new Promise(() => {})', {
      requires: { on: 'other' },
      signal: abort.signal,
    })
    setTimeout(() => abort.abort(), 300)
    await expect(running).rejects.toThrow()
    await until(
      async () => (await sdk.tasks.list({ state: 'working' })).tasks.length === 0,
      'nothing is working any more',
    )
  })
})

describe('CLI', () => {
  test('run, on another node, explained, as JSON', async () => {
    const program = await file('sum.ts', 'export default (ns: number[]): number => ns.reduce((a, b) => a + b, 0)\n')
    const input = await file('ns.json', '[1,2,3,4]')
    const plain = await alice.cli('run', program, '--input', input)
    expect(plain).toMatchObject({ code: 0, stdout: '10\n' })
    const json = await alice.cli('run', program, '--input', input, '--on', 'bob', '--json')
    expect(json.code).toBe(0)
    expect(JSON.parse(json.stdout)).toMatchObject({ output: 10, state: 'completed' })
    const explained = await alice.cli('run', program, '--input', input, '--on', 'other', '--explain')
    expect(explained.stderr + explained.stdout).toMatch(/chosen/)
  })

  test('map over a file of lines', async () => {
    const program = await file('len.js', 'export default (s) => s.length\n')
    const inputs = await file('lines.jsonl', ['"a"', '"bb"', '"ccc"'].join('\n'))
    const { code, stdout } = await alice.cli('map', program, '--inputs', inputs)
    expect({ code, lines: stdout.trim().split('\n') }).toEqual({ code: 0, lines: ['1', '2', '3'] })
  })

  test('a receipt verifies from its file alone, and not when it was changed', async () => {
    const program = await file('one.js', 'export default () => 1\n')
    const { stdout } = await alice.cli('run', program, '--json', '--on', 'bob')
    const { id } = JSON.parse(stdout) as { id: string }
    const receipts = await alice.cli('task', 'receipts', id, '--json')
    const [receipt] = (JSON.parse(receipts.stdout) as { receipts: { payload: string }[] }).receipts
    const good = await file('receipt.json', JSON.stringify(receipt))
    await expect(alice.cli('receipt', 'verify', good)).resolves.toMatchObject({ code: 0 })
    const payload = Buffer.from(
      Buffer.from(receipt?.payload ?? '', 'base64')
        .toString()
        .replace('completed', 'completes'),
    ).toString('base64')
    const bad = await file('forged.json', JSON.stringify({ ...receipt, payload }))
    expect((await alice.cli('receipt', 'verify', bad)).code).not.toBe(0)
  })

  test('status, peers, capabilities, doctor, members, paths, config', async () => {
    for (const command of [
      ['status'],
      ['peers'],
      ['capabilities'],
      ['doctor'],
      ['members'],
      ['paths'],
      ['config', 'show', '--origin'],
      ['task', 'ls'],
    ]) {
      const { code, stdout, stderr } = await alice.cli(...command, '--json')
      expect({ command, code, stderr }).toEqual({ command, code: 0, stderr: '' })
      expect(() => JSON.parse(stdout) as unknown).not.toThrow()
    }
  })
})

describe('membership', () => {
  test('P2P-17: a revoked node is cut off within five seconds, mid-work, and refused when it comes back', async () => {
    const dave = await mesh.add({ name: 'dave' })
    await mesh.connected()
    const sdk = await alice.sdk()
    const task = await sdk.tasks.start('export default () => new Promise((r) => setTimeout(() => r(1), 3000))', {
      requires: { on: 'dave' },
    })
    await until(async () => (await sdk.tasks.get(task.id)).state === 'working', 'dave works')
    const startedAt = performance.now()
    await sdk.revoke('dave')
    const bobs = await bob.sdk()
    await until(async () => !(await bobs.peers()).some((peer) => peer.name === 'dave'), 'bob has put dave out', 5_000)
    expect(performance.now() - startedAt).toBeLessThan(5_000)
    await until(async () => (await sdk.tasks.get(task.id)).state === 'failed', 'the task cannot run elsewhere')
    await dave.down()
    await dave.up()
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    expect((await sdk.peers()).some((peer) => peer.name === 'dave')).toBe(false)
    await dave.kill()
  })
})
