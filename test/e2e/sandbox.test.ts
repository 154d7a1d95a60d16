/** Sandboxes as a user has them: two real daemons, a real engine, and the command. Without an engine these are skipped, loudly. */
import { createServer } from 'node:http'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Mesh, Sandbox } from '../../sdk/src/index.ts'
import { findTestEngine } from '../support/docker-engine.ts'
import { RealMesh, type RealNode, until } from '../support/real-mesh.ts'

const found = await findTestEngine()
const CANARY = 'canary-6e1c9b7f42a8'
const SMALL = { memoryBytes: 96 << 20, diskBytes: 32 << 20, tmpBytes: 8 << 20, inodes: 2_000, pids: 256 }
const gvisor = found.engine?.runtimes.includes('runsc') === true

describe.skipIf(!found.engine)('sandboxes of two daemons', { timeout: 120_000 }, () => {
  let mesh: RealMesh
  let alice: RealNode
  let bob: RealNode
  let sdk: Mesh
  let folder: string
  const made: string[] = []

  /** Where it runs is the only difference between the two. */
  const make = async (on: string, name: string): Promise<Sandbox> => {
    made.push(name)
    return sdk.sandbox({ on, name, limits: SMALL, isolation: 'jailed' })
  }

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'mh-box-'))
    const settings = {
      'sandbox.engine': found.engine?.host ?? '',
      'sandbox.image': found.engine?.image ?? '',
      'sandbox.warmEach': '0',
    }
    mesh = await RealMesh.start({ name: 'alice', settings }, { name: 'bob', settings })
    ;[alice, bob] = mesh.nodes as [RealNode, RealNode]
    sdk = await alice.sdk()
  }, 90_000)

  // A daemon that has just started offers sandboxes a moment after it answers.
  beforeEach(async () => {
    const mesh = await alice.sdk()
    await until(
      async () => (await mesh.capabilities('sandbox')).some(({ nodes }) => nodes.length === 2),
      'both nodes offer sandboxes',
    )
  }, 60_000)

  afterAll(async () => {
    for (const { id } of (await sdk?.sandboxes.list()) ?? []) await (await sdk.sandboxes.get(id)).remove()
    await mesh?.close()
    await rm(folder, { recursive: true, force: true })
  }, 60_000)

  for (const where of ['local', 'bob']) {
    test(`on ${where}: commands, files, code, background, ports, snapshots, sleep`, async () => {
      const box = await make(where, `all-${where}`)
      expect(box.view).toMatchObject({ state: 'running', nodeName: where === 'local' ? 'alice' : 'bob' })

      expect(await box.exec(['sh', '-c', 'echo out; echo err >&2; exit 3'])).toMatchObject({
        ok: false,
        exitCode: 3,
        stdout: 'out\n',
        stderr: 'err\n',
      })
      expect((await box.exec(['cat'], { stdin: 'in' })).stdout).toBe('in')
      expect((await box.exec(['sleep', '20'], { timeout: 200 })).end).toEqual({ reason: 'timeout' })
      expect((await box.exec(['no-such-program'])).end.reason).toBe('not-started')
      await expect(box.exec(['sleep', '20'], { signal: AbortSignal.timeout(200) })).rejects.toThrow()

      // Large enough that every window on the way fills several times, and that a byte out of place shows
      const content = Buffer.from(Uint32Array.from({ length: 1 << 20 }, (_, at) => at * 2_654_435_761).buffer)
      await box.files.write('data/big', content)
      expect(Buffer.compare(await box.files.read('data/big'), content)).toBe(0)
      expect(await box.files.list('data')).toMatchObject([{ name: 'big', type: 'file', bytes: content.length }])
      // Little and much go different ways between nodes
      for (const size of [0, 1, 64 << 10, (64 << 10) + 1]) {
        const some = content.subarray(0, size)
        await box.files.write('data/some', some)
        expect(Buffer.compare(await box.files.read('data/some'), some)).toBe(0)
      }
      await box.files.remove('data/some')
      await expect(box.files.read('/workspace/../etc/passwd')).rejects.toMatchObject({ code: 'E_SYMLINK' })

      const shell = await box.runCode('shell', 'x=41')
      expect(shell).toMatchObject({ ok: true, stateKept: true })
      expect((await box.runCode('shell', 'echo $((x + 1))')).stdout).toBe('42\n')

      const server = await box.start(
        ['sh', '-c', 'echo ready; while :; do echo "HTTP/1.0 200 OK\r\n\r\nhello" | nc -l -p 3000; done'],
        { name: 'web' },
      )
      expect(await server.waitForLog('ready', { timeout: 10_000 })).toBe('ready')
      expect(await box.processes()).toMatchObject([{ id: server.id, name: 'web', running: true }])
      await using port = await box.port(3000)
      await until(
        async () =>
          (
            await fetch(port.url).then(
              (answer) => answer.text(),
              () => '',
            )
          ).includes('hello'),
        'the server inside answers',
      )
      await server.kill('SIGKILL')

      await box.snapshot('before')
      await box.exec(['rm', 'data/big'])
      await box.restore('before')
      expect((await box.files.stat('data/big')).bytes).toBe(content.length)

      expect((await box.sleep()).state).toBe('stopped')
      expect((await box.exec(['ls', 'data'])).stdout).toBe('big\n')
      await box.remove()
      await expect(sdk.sandboxes.get(box.id)).rejects.toMatchObject({ code: 'E_NOT_FOUND' })
    })
  }

  test('nobody but its owner reaches a sandbox: not even the node it is on', async () => {
    const box = await make('bob', 'mine')
    const other = await bob.sdk()
    expect(await other.sandboxes.list()).toEqual([])
    await expect(other.sandboxes.get(box.id)).rejects.toMatchObject({ code: 'E_NOT_FOUND' })
    await box.remove()
  })

  test('it moves with its files and keeps its id, and survives kills of both daemons', async () => {
    const box = await make('local', 'nomad')
    await box.files.write('note', 'kept')
    expect((await box.move('bob')).nodeName).toBe('bob')
    expect(box.id).toBe((await sdk.sandboxes.get('nomad')).id)
    expect(await box.files.readText('note')).toBe('kept')
    await bob.kill()
    await bob.up()
    await mesh.connected()
    await until(
      async () => (await box.files.readText('note').catch(() => '')) === 'kept',
      'it is there after a kill of its node',
    )
    await alice.kill()
    sdk = await alice.up()
    await mesh.connected()
    const again = await sdk.sandboxes.get('nomad')
    await until(
      async () => (await again.files.readText('note').catch(() => '')) === 'kept',
      'it is known after a kill of its owner',
    )
    await again.remove()
  })

  test('the command: exit codes, standard input, copies, --json', async () => {
    expect(
      await alice.cli(
        'sandbox',
        'create',
        '--name',
        'dev',
        '--on',
        'bob',
        '--limit',
        'memory=96MB,disk=32MB',
        '--json',
      ),
    ).toMatchObject({ code: 0 })
    expect(await alice.cli('sandbox', 'exec', 'dev', '--', 'sh', '-c', 'echo $((6 * 7)); exit 5')).toMatchObject({
      code: 5,
      stdout: '42\n',
    })
    const file = join(folder, 'note.txt')
    await writeFile(file, 'copied\n')
    expect(await alice.cli('sandbox', 'cp', file, 'dev:in/')).toMatchObject({ code: 0 })
    expect(await alice.cli('sandbox', 'cp', 'dev:in/note.txt', '-')).toMatchObject({ code: 0, stdout: 'copied\n' })
    expect(await alice.cli('sandbox', 'cp', 'dev:in', join(folder, 'out'))).toMatchObject({ code: 0 })
    expect(await readFile(join(folder, 'out', 'note.txt'), 'utf8')).toBe('copied\n')
    expect((await alice.cli('sandbox', 'ls')).stdout).toContain('bob')
    expect(await alice.cli('sandbox', 'exec', 'nobody', '--', 'true')).toMatchObject({ code: 66 })
    expect(await alice.cli('sandbox', 'rm', 'dev')).toMatchObject({ code: 0 })
    expect(await alice.cli('image', 'import', 'debian:12', file, '--on', 'bob')).toMatchObject({
      code: 77,
      stderr: expect.stringContaining('sandbox.imagesFromPeers') as string,
    })
  })

  /** A server of this host that lets in whoever shows the secret, allowed to sandboxes of one name. */
  async function guarded(name: string): Promise<{ port: number; rule: string; seen: unknown[]; close(): void }> {
    const seen: (string | undefined)[] = []
    const server = createServer((request, response) => {
      seen.push(request.headers.authorization)
      response.end('let in\n')
    })
    await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    await sdk.secrets.set('token', CANARY)
    const { id } = await sdk.policy.allow({
      for: [`sandbox/${name}`],
      host: '127.0.0.1',
      ports: [port],
      addresses: ['127.0.0.1/32'],
      inject: [{ header: 'authorization', secret: 'token' }],
      plain: true,
    })
    return { port, rule: id, seen, close: () => void server.close() }
  }
  const get = (box: Sandbox, port: number) =>
    box.exec(['sh', '-c', `wget -q -O - -Y on http://127.0.0.1:${port}/ 2>&1`], { env: { no_proxy: '' } })

  test('SBX-14: a secret reaches the allowed host from a sandbox on a peer, and is nowhere else', async () => {
    const host = await guarded('agent')
    try {
      const box = await make('bob', 'agent')
      expect((await get(box, host.port)).stdout).toBe('let in\n')
      expect(host.seen).toEqual([`Bearer ${CANARY}`])
      expect((await get(box, host.port + 1)).ok).toBe(false)
      expect(
        (await box.exec(['sh', '-c', 'env; cat /proc/*/environ /run/manyhands/* 2>/dev/null'])).stdout,
      ).not.toContain(CANARY)
      expect(
        JSON.stringify([await sdk.secrets.list(), await sdk.egress.recent(), await bob.log(), await alice.log()]),
      ).not.toContain(CANARY)
      expect(await sdk.egress.recent()).toContainEqual(
        expect.objectContaining({ decision: 'allow', port: host.port, rule: host.rule }),
      )
      await sdk.policy.remove(host.rule)
      expect((await get(box, host.port)).ok).toBe(false)
      await box.remove()
    } finally {
      host.close()
    }
  })

  for (const where of ['local', 'bob']) {
    test.skipIf(!gvisor)(
      `SBX-08, SBX-14, SBX-18: on ${where} under gVisor, whose network is its own: commands, files, ports and the one way out`,
      async () => {
        const name = `deep-${where}`
        const host = await guarded(name)
        try {
          made.push(name)
          const box = await sdk.sandbox({ on: where, name, limits: SMALL, isolation: 'gvisor' })
          expect(box.view.grade).toBe('gvisor')
          expect((await box.exec(['dmesg'])).stdout).toContain('gVisor')
          await box.files.write('kept', 'from outside')
          expect((await box.exec(['cat', 'kept'])).stdout).toBe('from outside')

          expect((await get(box, host.port)).stdout).toBe('let in\n')
          expect(host.seen).toEqual([`Bearer ${CANARY}`])
          expect((await get(box, host.port + 1)).stdout).toContain('403')
          const direct = await box.exec(['sh', '-c', `nc -w 1 127.0.0.1 ${host.port} </dev/null && echo reached`])
          expect(direct.stdout).not.toContain('reached')
          expect((await box.exec(['sh', '-c', 'env; cat /proc/*/environ'])).stdout).not.toContain(CANARY)

          await box.start(['nc', '-ll', '-p', '7000', '-e', 'cat'])
          await box.waitForPort(7000, { timeout: 10_000 })
          await using port = await box.port(7000)
          expect(await echoed(port.port, 'through the port')).toBe('through the port')

          // Its container is another after a stop, and so is the way out. Without root its files are in memory, and it only freezes
          await box.sleep(box.view.survivesStop ? 'stop' : 'pause')
          expect((await get(box, host.port)).stdout).toBe('let in\n')
          expect((await box.exec(['cat', 'kept'])).stdout).toBe('from outside')
          await box.remove()
        } finally {
          host.close()
        }
      },
    )
  }
})

/** What comes back from a port of this host for a text. */
function echoed(port: number, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let back = ''
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true }, () => socket.end(text))
    socket.setEncoding('utf8').on('data', (part: string) => (back += part))
    socket.on('error', reject)
    socket.on('end', () => resolve(back))
  })
}
