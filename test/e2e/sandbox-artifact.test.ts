/** Sandboxes that were given an artifact: two real daemons, neither with a port for Git clients, a real engine, and Git inside. Without an engine, or not as root, these are skipped. */
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { Artifact, Mesh, Sandbox } from '../../sdk/src/index.ts'
import { findTestEngine } from '../support/docker-engine.ts'
import { RealMesh, type RealNode, until } from '../support/real-mesh.ts'
import { makeToolsImage } from '../support/tools-image.ts'

const found = await findTestEngine()
// Only root makes disks, without which nothing moves
const able = found.engine !== undefined && process.geteuid?.() === 0
const LIMITS = { memoryBytes: 128 << 20, diskBytes: 32 << 20, tmpBytes: 8 << 20, inodes: 2_000, pids: 256 }
/** How every Git token begins */
const TOKEN = 'mha_'

describe.skipIf(!able)('a sandbox with an artifact', { timeout: 120_000 }, () => {
  let mesh: RealMesh
  let alice: RealNode
  let sdk: Mesh
  let image: string
  let notes: Artifact

  beforeAll(async () => {
    const { socket, host, image: plain } = found.engine ?? { socket: '', host: '', image: '' }
    image = (await makeToolsImage(socket)).name
    const settings = { 'sandbox.engine': host, 'sandbox.image': plain, 'sandbox.warmEach': '0' }
    mesh = await RealMesh.start({ name: 'alice', settings }, { name: 'bob', settings })
    ;[alice] = mesh.nodes as [RealNode, RealNode]
    sdk = await alice.sdk()
    await until(
      async () => (await sdk.capabilities('sandbox')).some(({ nodes }) => nodes.length === 2),
      'both nodes offer sandboxes',
    )
    notes = await sdk.artifacts.create({ name: 'notes' })
    await notes.commit({ message: 'First', files: [{ path: 'README.md', text: '# Notes\n' }] })
    const other = await sdk.artifacts.create({ name: 'other' })
    await other.commit({ message: 'First', files: [{ path: 'secret.md', text: 'not for it\n' }] })
  }, 90_000)

  afterEach(async () => {
    for (const { id } of await sdk.sandboxes.list()) await (await sdk.sandboxes.get(id)).remove()
  }, 60_000)
  afterAll(() => mesh?.close(), 60_000)

  const sh = async (box: Sandbox, script: string): Promise<string> => {
    const { stdout, stderr } = await box.exec(['sh', '-c', script])
    return stdout + stderr
  }
  const get = (box: Sandbox, url: string): Promise<string> => sh(box, `wget -q -S -O - '${url}' 2>&1`)
  const subjects = async (): Promise<unknown[]> => (await notes.audit()).records.map(({ by }) => by.subject)
  const tokens = async (): Promise<string[]> => (await notes.tokens.list()).map(({ name }) => name)

  for (const where of ['local', 'bob']) {
    test(`SBX-28: on ${where} it clones and pushes without ever holding a token`, async () => {
      const name = `dev-${where}`
      const box = await sdk.sandbox({ on: where, name, image, artifact: 'notes', limits: LIMITS, isolation: 'jailed' })
      const given = { id: notes.id, name: 'notes', access: 'write' }
      expect(box.view).toMatchObject({ nodeName: where === 'local' ? 'alice' : 'bob', artifact: given })
      expect(await sdk.sandboxes.list()).toMatchObject([{ id: box.id, artifact: given }])
      expect(await box.files.readText('README.md')).toBe('# Notes\n')

      const branch = `agent/${where}`
      const pushed = await box.exec([
        'sh',
        '-c',
        `git checkout -q -b ${branch} && echo result > result && git add . && git commit -qm Result && git push origin ${branch}`,
      ])
      expect(pushed).toMatchObject({ ok: true })
      expect(await notes.readText('result', { rev: branch })).toBe('result\n')
      expect(await subjects()).toContain(`sandbox/${name}`)
      expect(await tokens()).toEqual([`sandbox/${name}`])

      const search =
        "grep -rhaoE '[m]ha_.{4}' /workspace /tmp /run /etc /home /root /var /proc/[0-9]*/environ /proc/[0-9]*/cmdline"
      const seen = await sh(box, `env; git config --list --show-origin; ${search}`)
      expect(seen).toContain('http://artifacts.manyhands/notes.git')
      expect(seen).not.toContain(TOKEN)
      // The search does find one
      await box.files.write('/tmp/found', `${TOKEN}test`)
      expect(await sh(box, search)).toContain(`${TOKEN}test`)
      // An answer about large files names the way it came by and no credential
      const batch = await sh(
        box,
        `curl -sSi -H 'Content-Type: application/vnd.git-lfs+json' -d '{"operation":"upload","objects":[{"oid":"${'a'.repeat(64)}","size":5}]}' http://artifacts.manyhands/notes.git/info/lfs/objects/batch 2>&1`,
      )
      expect(batch).toContain('"upload":{"href":"http://artifacts.manyhands/')
      expect(batch).not.toMatch(/mha_|authorization/i)

      const refs = 'info/refs?service=git-upload-pack'
      expect(await get(box, `http://artifacts.manyhands/notes.git/${refs}`)).toContain('200 OK')
      for (const path of [`other.git/${refs}`, `git/other.git/${refs}`, `notes.git/../other.git/${refs}`, 'v0/status'])
        expect(await get(box, `http://artifacts.manyhands/${path}`)).toContain('404')
      expect(await get(box, `http://artifacts.manyhands:81/notes.git/${refs}`)).toContain('403')
      const deny = await sdk.policy.deny({ for: [`sandbox/${name}`], host: 'artifacts.manyhands' })
      expect(await get(box, `http://artifacts.manyhands/notes.git/${refs}`)).toContain('403')
      await sdk.policy.remove(deny.id)

      await box.remove()
      expect(await tokens()).toEqual([])
    })
  }

  test.skipIf(!existsSync('/usr/bin/git-lfs'))('SBX-28: large files go and come by LFS, without a token', async () => {
    const content = randomBytes(3 << 20)
    const options = { image, artifact: 'notes', limits: LIMITS, isolation: 'jailed' as const }
    const writer = await sdk.sandbox({ ...options, on: 'bob' })
    await writer.files.write('large.bin', content)
    const pushed = await writer.exec([
      'sh',
      '-ec',
      'git lfs install --local; git lfs track "*.bin"; git add .; git commit -qm Large; git push origin HEAD:refs/heads/large',
    ])
    expect(pushed, pushed.stderr).toMatchObject({ ok: true })
    expect(await notes.readText('large.bin', { rev: 'large' })).toContain('oid sha256:')
    expect(await sh(writer, "git config --list; grep -rha '[m]ha_' .git/config .git/lfs /tmp")).not.toContain(TOKEN)

    const reader = await sdk.sandbox({ ...options, on: 'local', artifactAccess: 'read' })
    expect(await sh(reader, 'git lfs install --local; git checkout -q large && ls -s large.bin')).toMatch(/30\d\d/)
    expect(Buffer.compare(await reader.files.read('large.bin'), content)).toBe(0)
    const refused = await sh(
      reader,
      'echo more > more.bin; git add .; git commit -qm More; git lfs push origin HEAD 2>&1; echo',
    )
    expect(refused).toMatch(/403|not allowed|may only read/i)
  })

  test('SBX-28: one that may only read is refused a push, and one without an artifact everything', async () => {
    const reader = await sdk.sandbox({
      on: 'local',
      image,
      artifact: 'notes',
      artifactAccess: 'read',
      limits: LIMITS,
      isolation: 'jailed',
    })
    expect(await sh(reader, 'git commit -q --allow-empty -m x && git push origin HEAD:refs/heads/no')).toContain('403')
    await reader.remove()
    const without = await sdk.sandbox({ on: 'local', limits: LIMITS, isolation: 'jailed' })
    expect(await get(without, 'http://artifacts.manyhands/notes.git/info/refs?service=git-upload-pack')).toContain(
      '404',
    )
    await without.remove()
  })

  test('an artifact that is not there and an image without Git are refused, and nothing is left', async () => {
    await expect(sdk.sandbox({ on: 'local', artifact: 'nothing' })).rejects.toMatchObject({ code: 'E_NOT_FOUND' })
    await expect(
      sdk.sandbox({ on: 'local', artifact: 'notes', limits: LIMITS, isolation: 'jailed' }),
    ).rejects.toMatchObject({ code: 'E_IMAGE' })
    expect(await sdk.sandboxes.list()).toEqual([])
    expect(await tokens()).toEqual([])
  })

  test('it still pushes after a kill of its owner, from a fork and after a move, until its token is revoked; by the command', async () => {
    const made = await alice.cli(
      ...['sandbox', 'create', '--on', 'bob', '--name', 'kept', '--image', image, '--artifact', 'notes'],
      ...['--limit', 'memory=128MB,disk=32MB', '--grade', 'jailed', '--json'],
    )
    expect(made).toMatchObject({ code: 0 })
    await alice.kill()
    sdk = await alice.up()
    notes = await sdk.artifacts.get('notes')
    await mesh.connected()
    const push = ['sandbox', 'exec', 'kept', '--', 'sh', '-c', 'git push origin HEAD:refs/heads/later']
    await until(async () => (await alice.cli(...push)).code === 0, 'it pushes')
    expect(await tokens()).toEqual(['sandbox/kept'])

    expect(await alice.cli('sandbox', 'fork', 'kept', 'other')).toMatchObject({ code: 0 })
    expect(
      await alice.cli('sandbox', 'exec', 'other', '--', 'git', 'push', 'origin', 'HEAD:refs/heads/fork'),
    ).toMatchObject({
      code: 0,
    })
    expect(await tokens()).toEqual(['sandbox/kept', 'sandbox/other'])
    expect(await alice.cli('sandbox', 'rm', 'other')).toMatchObject({ code: 0 })
    expect(await alice.cli('sandbox', 'move', 'kept', '--to', 'alice')).toMatchObject({ code: 0 })
    const shown = (await alice.cli('sandbox', 'show', 'kept')).stdout
    expect(shown).toMatch(new RegExp(`^image +${image} +sha256:`, 'm'))
    expect(shown).toMatch(/^artifact +notes, write/m)
    expect(
      await alice.cli('sandbox', 'exec', 'kept', '--', 'git', 'push', 'origin', 'HEAD:refs/heads/home'),
    ).toMatchObject({
      code: 0,
    })
    const [token] = await notes.tokens.list()
    await notes.tokens.revoke(token?.id ?? '')
    expect((await alice.cli('sandbox', 'exec', 'kept', '--', 'git', 'fetch', 'origin')).code).not.toBe(0)
    expect(await alice.cli('sandbox', 'rm', 'kept')).toMatchObject({ code: 0 })
    expect(await tokens()).toEqual([])
  })
})
