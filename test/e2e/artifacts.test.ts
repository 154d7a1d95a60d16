/** Artifacts as their users meet them: real daemons, the SDK, the command, and the system's Git. */
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Artifact, connect, type Mesh, verifyArtifactClone, verifyReceipt } from '../../sdk/src/index.ts'
import { startGitBackend } from '../support/git-backend.ts'
import { RealMesh, type RealNode, until } from '../support/real-mesh.ts'

const run = promisify(execFile)
const SETTINGS = { 'api.port': '0', 'artifacts.importHosts': '127.0.0.1' }

let folder: string
let mesh: RealMesh
let north: RealNode
let south: RealNode
let sdk: Mesh

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mh-artifacts-'))
  mesh = await RealMesh.start(...['north', 'east', 'south'].map((name) => ({ name, settings: SETTINGS })))
  const [first, , last] = mesh.nodes
  if (first === undefined || last === undefined) throw new Error('no nodes')
  north = first
  south = last
  sdk = await north.sdk()
}, 120_000)
afterAll(async () => {
  await mesh?.close()
  await rm(folder, { recursive: true, force: true })
})

async function git(cwd: string, ...args: string[]): Promise<string> {
  const env = {
    ...process.env,
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_TERMINAL_PROMPT: '0',
    GIT_AUTHOR_NAME: 'me',
    GIT_AUTHOR_EMAIL: 'me@example.org',
    GIT_COMMITTER_NAME: 'me',
    GIT_COMMITTER_EMAIL: 'me@example.org',
  }
  const { stdout, stderr } = await run('git', args, { cwd, env })
  return stdout + stderr
}

/** The Git URL of an artifact with a fresh token in it. */
async function urlOf(artifact: Artifact, access: 'read' | 'write' = 'write'): Promise<string> {
  const { token } = await artifact.tokens.create({ access })
  const url = new URL((await artifact.refresh()).gitUrl ?? '')
  url.username = 'x'
  url.password = token
  return url.href
}

describe('artifacts', () => {
  it('are pushed to one node, held by all, and cloned by id from a survivor', { timeout: 120_000 }, async () => {
    const made = await sdk.artifacts.create({ name: 'notes', replicas: { min: 3 } })
    const work = join(folder, 'work')
    await git(folder, 'clone', '-q', await urlOf(made), work)
    await writeFile(join(work, 'README.md'), '# Notes\n')
    const weights = randomBytes(1 << 20)
    const hasLfs = await git(folder, 'lfs', 'version').then(
      () => true,
      () => false,
    )
    if (hasLfs) {
      await git(work, 'lfs', 'install', '--local')
      await git(work, 'lfs', 'track', '*.dat')
      await writeFile(join(work, 'weights.dat'), weights)
    }
    await git(work, 'add', '.')
    await git(work, 'commit', '-qm', 'First')
    await git(work, 'push', '-q', 'origin', 'HEAD:main')
    expect(await made.readText('README.md')).toBe('# Notes\n')
    await made.addNote({ kind: 'prompts', text: 'Write notes' })
    await until(async () => {
      const { state, holders } = await made.replication()
      return state === 'healthy' && holders.filter(({ current }) => current).length === 3
    }, 'three nodes hold it')

    const owner = (await sdk.status()).id
    await north.kill()
    const { code, stderr } = await south.cli('artifact', 'clone', `manyhands://${made.id}`, join(folder, 'survivor'))
    expect(stderr).not.toContain('error')
    expect(code).toBe(0)
    const survivor = join(folder, 'survivor')
    const tokens = (await (await (await south.sdk()).artifact('notes')).tokens.list()).length
    const again = await south.cli('artifact', 'clone', made.id, survivor, '--json')
    expect(again.code).toBe(65)
    expect(JSON.parse(again.stdout)).toMatchObject({ error: { code: 'E_CONFLICT' } })
    expect(await (await (await south.sdk()).artifact('notes')).tokens.list()).toHaveLength(tokens)
    expect(await readFile(join(survivor, 'README.md'), 'utf8')).toBe('# Notes\n')
    const there = await (await south.sdk()).artifact('notes')
    expect(await there.note({ kind: 'prompts' }), 'notes are replicated').toBe('Write notes\n')
    if (hasLfs) {
      await git(survivor, 'lfs', 'install', '--local')
      await git(survivor, 'lfs', 'pull')
      expect(await readFile(join(survivor, 'weights.dat'))).toEqual(weights)
    }
    await git(survivor, 'fetch', '-q', 'origin', 'refs/manyhands/*:refs/manyhands/*')
    const checked = await verifyArtifactClone(survivor)
    expect(checked).toMatchObject({ valid: true, faults: [], owner })
    // A branch that nobody signed is noticed
    await git(survivor, 'commit', '-q', '--allow-empty', '-m', 'forged')
    await git(survivor, 'update-ref', 'refs/remotes/origin/main', 'HEAD')
    expect(await verifyArtifactClone(survivor)).toMatchObject({ valid: false })

    sdk = await north.up()
    await mesh.connected()
    expect(await (await sdk.artifact('notes')).readText('README.md')).toBe('# Notes\n')
  })

  it('are reviewed: nothing is merged without the checks and approvals its owner demands', {
    timeout: 60_000,
  }, async () => {
    const made = await sdk.artifacts.create({ name: 'reviewed', review: { checks: ['test'], approvals: 1 } })
    const base = await made.commit({ message: 'Base', files: [{ path: 'a.txt', text: 'one\n' }] })
    const branched = await made.commit({
      branch: 'agent/fix',
      from: 'main',
      message: 'Fix it',
      files: [{ path: 'a.txt', text: 'two\n' }],
      by: { agent: 'fixer' },
    })
    const proposal = await made.propose({ from: 'agent/fix', by: { agent: 'fixer' } })
    expect(proposal.view).toMatchObject({ title: 'Fix it', head: branched.commit, state: 'open' })
    await expect(proposal.merge()).rejects.toMatchObject({ code: 'E_REVIEW' })
    await proposal.check({ name: 'test', result: 'fail', text: 'one is missing' })
    await proposal.check({ name: 'test', result: 'pass' })
    await proposal.approve()
    await expect(proposal.merge(), 'an own approval does not count').rejects.toMatchObject({ code: 'E_REVIEW' })

    // The other node, which holds it, approves as itself
    await made.replicate({ min: 2 })
    const there = await (await south.sdk()).artifacts.fetch(made.id)
    const seen = await there.proposals.get(proposal.id)
    await seen.approve({ text: 'Looks good' })
    await expect(seen.merge(), 'only the owner merges').rejects.toMatchObject({ code: 'E_FORBIDDEN' })
    await until(async () => (await made.proposals.get(proposal.id)).view.approvals.length === 1, 'the approval arrived')
    const merged = await proposal.merge()
    expect(merged).toMatchObject({ state: 'merged', lacking: [] })
    expect(await made.readText('a.txt')).toBe('two\n')
    expect((await made.log({ limit: 1 })).commits[0]?.parents).toContain(branched.commit)
    const { records } = await made.audit({ limit: 20 })
    expect(records.some(({ by }) => by.agent === 'fixer')).toBe(true)
    expect(records.at(-2)?.moves[0]).toMatchObject({ ref: 'refs/heads/main', new: base.commit })
    expect((await made.verify()).faults).toEqual([])
  })

  it('are taken and given by tasks, whose work can be undone unless later work stands on it', {
    timeout: 60_000,
  }, async () => {
    const made = await sdk.artifacts.create({ name: 'worked' })
    const before = await made.commit({ message: 'Base', files: [{ path: 'in/a.txt', text: 'many hands' }] })
    const program = `export default ({ files }) => ({
      files: { 'out/count.txt': String(Object.values(files).join(' ').split(' ').length), 'in/a.txt': null },
    })`
    const artifacts = { input: { artifact: 'worked', paths: ['in'] }, output: { artifact: 'worked' } }
    const task = await sdk.tasks.run(program, { artifacts, requires: { on: 'other' } })
    expect(task).toMatchObject({ state: 'completed', commits: { input: { artifact: made.id, commit: before.commit } } })
    expect(task.commits?.refused).toBeUndefined()
    expect(await made.readText('out/count.txt')).toBe('2')
    await expect(made.read('in/a.txt')).rejects.toMatchObject({ code: 'E_NOT_FOUND' })
    const receipts = await sdk.tasks.receipts(task.id)
    const [receipt, ofCommits] = receipts.map(verifyReceipt)
    expect(receipt).toMatchObject({ valid: true, outcome: 'completed' })
    const { commits } = task
    expect(ofCommits).toMatchObject({ valid: true, node: made.view.owner, commits: { ...commits } })
    expect(commits?.output?.commit).toBe((await made.log({ limit: 1 })).commits[0]?.oid)
    const file = join(folder, 'receipts.json')
    await writeFile(file, JSON.stringify({ receipts }))
    const shown = await north.cli('receipt', 'verify', file)
    expect(shown).toMatchObject({ code: 0, stdout: expect.stringContaining(`@${commits?.output?.commit}`) as unknown })
    expect(shown.stdout).toContain(`${made.id}@${before.commit}`)
    const [record] = (await made.audit({ limit: 1 })).records
    expect(record?.by).toMatchObject({ task: task.id, receipt: ofCommits?.work })
    expect((await made.log({ limit: 1 })).commits[0]?.message).toContain(`Input: ${made.id}@${before.commit}`)

    expect(await sdk.tasks.undo(task.id, { dryRun: true })).toMatchObject({
      undone: false,
      artifacts: [{ artifact: made.id }],
    })
    expect(await sdk.tasks.undo(task.id)).toMatchObject({ undone: true })
    expect(await made.readText('in/a.txt')).toBe('many hands')
    await expect(made.read('out/count.txt')).rejects.toMatchObject({ code: 'E_NOT_FOUND' })

    expect(await sdk.tasks.undo(task.id), 'there is nothing left of it').toMatchObject({ undone: true })
    expect((await made.log({ limit: 1 })).commits[0]?.message).toContain(`Undo task ${task.id}`)

    for (const dryRun of [true, false])
      await expect(sdk.tasks.undo('t0nosuchtask', { dryRun })).rejects.toMatchObject({ code: 'E_NOT_FOUND' })
    expect((await north.cli('undo', 't0nosuchtask')).code).toBe(66)
    const untouched = await sdk.tasks.run('export default () => 1')
    expect(await sdk.tasks.undo(untouched.id), 'it changed nothing').toMatchObject({ artifacts: [] })

    const again = await sdk.tasks.run(program, { artifacts })
    await made.commit({ message: 'Later', files: [{ path: 'out/count.txt', text: 'three' }] })
    const refused = await sdk.tasks.undo(again.id)
    expect(refused).toMatchObject({ undone: false, artifacts: [{ refused: 'later work changed out/count.txt' }] })
    expect(await made.readText('out/count.txt')).toBe('three')

    const wrong = await sdk.tasks.run('export default () => ({ files: { "../x": "y" } })', {
      artifacts: { output: { artifact: 'worked' } },
    })
    expect(wrong).toMatchObject({ state: 'completed', commits: { refused: expect.stringContaining('E_') as unknown } })
  })

  it('start programs when they are pushed to, but not in circles', { timeout: 60_000 }, async () => {
    const made = await sdk.artifacts.create({ name: 'watched' })
    await made.triggers.add({
      name: 'echo',
      on: 'push',
      branch: 'main',
      perMinute: 2,
      program: { source: 'export default (push) => push.new' },
    })
    const events: string[] = []
    const stop = new AbortController()
    const watching = (async () => {
      for await (const event of made.watch({ signal: stop.signal }))
        events.push(event.type === 'proposal' ? `proposal ${event.what}` : event.type)
    })().catch(() => undefined)
    const first = await made.commit({ message: 'One', files: [{ path: 'a', text: '1' }] })
    await made.commit({ branch: 'other', message: 'Elsewhere', files: [{ path: 'a', text: '2' }] })
    await until(async () => (await made.triggers.list())[0]?.started === 1, 'the trigger started a task')
    const { lastTask = '' } = (await made.triggers.list())[0] ?? {}
    expect(await sdk.tasks.wait(lastTask)).toMatchObject({ state: 'completed', output: first.commit })
    // What that task pushes starts nothing
    await made.commit({ message: 'By it', files: [{ path: 'a', text: '3' }], by: { task: lastTask } })
    await until(async () => (await made.triggers.list())[0]?.dropped === 1, 'the circle was noticed')
    await made.commit({ message: 'Two', files: [{ path: 'a', text: '4' }] })
    await made.commit({ message: 'Three', files: [{ path: 'a', text: '5' }] })
    await until(async () => (await made.triggers.list())[0]?.dropped === 2, 'the rate is kept')
    expect((await made.triggers.list())[0]).toMatchObject({ started: 2, dropped: 2 })
    for (const on of ['proposal', 'merge'] as const)
      await made.triggers.add({
        ...{ name: `on-${on}`, on, branch: 'main', paths: ['b'] },
        program: { source: 'export default ({ input, files }) => [input.on, input.proposal, input.title, files.b]' },
      })
    await made.commit({ branch: 'next', from: 'main', message: 'Next', files: [{ path: 'b', text: '6' }] })
    const proposal = await made.propose({ from: 'next' })
    await proposal.merge()
    const said = ['artifact-pushed', 'trigger', 'proposal create', 'proposal merge']
    await until(() => said.every((one) => events.includes(one)), `events came, not ${events.join()}`)
    for (const on of ['proposal', 'merge'] as const) {
      const one = async () => (await made.triggers.list()).find(({ name }) => name === `on-${on}`)
      await until(async () => (await one())?.started === 1, `the ${on} started a task`)
      const { output } = await sdk.tasks.wait((await one())?.lastTask ?? '')
      expect(output).toEqual([on, proposal.id, 'Next', '6'])
    }
    stop.abort()
    await watching
  })

  it('carry notes, forks and what is imported; what is private stays so', { timeout: 60_000 }, async () => {
    const origin = join(folder, 'served', 'origin.git')
    await mkdir(origin, { recursive: true })
    await git(origin, 'init', '-q', '--bare', '-b', 'trunk')
    const work = join(folder, 'origin-work')
    await git(folder, 'clone', '-q', origin, work)
    await writeFile(join(work, 'x.bin'), Buffer.from([0, 255, 1]))
    const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${'a'.repeat(64)}\nsize 5\n`
    await writeFile(join(work, 'large.dat'), pointer)
    await git(work, 'add', '.')
    await git(work, 'commit', '-qm', 'Here')
    await git(work, 'tag', 'v1')
    await git(work, 'tag', '$(id)')
    await git(work, 'push', '-q', 'origin', 'HEAD:trunk', 'v1', 'refs/tags/$(id)')
    const backend = await startGitBackend(join(folder, 'served'))
    try {
      const made = await sdk.artifacts.import({
        url: `${backend.url}/origin.git`,
        name: 'imported',
        visibility: 'private',
      })
      expect(made.view).toMatchObject({ name: 'imported', defaultBranch: 'trunk', visibility: 'private' })
      expect(made.view.imported, 'what did not come is told').toEqual({ missingFiles: 1, leftRefs: 1 })
      const told = await north.cli('artifact', 'import', `${backend.url}/origin.git`)
      expect(told.stderr).toMatch(/not imported: 1;/)
      expect(told.stderr).toMatch(/left out.*: 1\n/)
      expect(await made.read('x.bin', { rev: 'v1' })).toEqual(new Uint8Array([0, 255, 1]))
      await made.addNote({ kind: 'prompts', text: 'Write x' })
      expect(await made.note({ kind: 'prompts' })).toBe('Write x\n')
      expect(await made.note()).toBeUndefined()
      const fork = await made.fork({ name: 'mine' })
      expect(await fork.read('x.bin')).toHaveLength(3)
      await expect((await south.sdk()).artifacts.fetch(made.id)).rejects.toMatchObject({ code: 'E_NOT_FOUND' })
      await expect(sdk.artifacts.import({ url: `${backend.url}/none.git` })).rejects.toMatchObject({
        code: 'E_UNREACHABLE',
      })
      await expect(sdk.artifacts.import({ url: 'file:///etc' })).rejects.toMatchObject({ code: 'E_BAD_REQUEST' })
      const names = (await sdk.artifacts.list({ limit: 500 })).artifacts.map(({ name }) => name)
      expect(names).toEqual([...names].sort())
      expect(names).toContain('mine')
    } finally {
      await backend.close()
    }
  })

  it('name the token that changed them, and are rid of garbage when asked', { timeout: 60_000 }, async () => {
    const token = await sdk.createToken({ name: 'keeper', access: 'admin' })
    const keeper = await connect({ home: north.home, token })
    try {
      const made = await sdk.artifacts.create({ name: 'tidied' })
      const base = await made.commit({ message: 'Base', files: [{ path: 'a', text: '1' }] })
      const task = 'task-of-somebody'
      await made.commit({ branch: 'gone', message: 'x', files: [{ path: 'x', text: 'x'.repeat(5_000) }], by: { task } })
      const same = await keeper.artifact('tidied')
      await same.update({ description: 'kept tidy' })
      await same.replicate({ min: 2 })
      expect((await made.audit({ limit: 3 })).records.map(({ by }) => by)).toEqual([
        { subject: 'keeper' },
        { subject: 'keeper' },
        { subject: 'local', task },
      ])
      expect(await sdk.tasks.undo(task), 'the branch it made goes').toMatchObject({ undone: true })
      const kept = await north.cli('artifact', 'gc', 'tidied', '--json')
      expect([kept.code, JSON.parse(kept.stdout)]).toMatchObject([0, { artifact: made.id }])
      const dropped = await made.collect({ now: true })
      expect(dropped.bytesAfter).toBeLessThan(dropped.bytesBefore)
      expect((await made.refresh()).bytes).toBe(dropped.bytesAfter)
      expect((await made.log()).commits.map(({ oid }) => oid)).toEqual([base.commit])
      expect((await made.verify()).faults).toEqual([])
      const { bytes } = made.view
      const asked = { headers: { authorization: `Bearer ${token}` } }
      const metrics = await (await fetch(new URL('/metrics', (await sdk.status()).apiUrl), asked)).text()
      const held = /manyhands_artifacts\{what="bytes"\} (\d+)/.exec(metrics)
      expect(Number(held?.[1])).toBeGreaterThanOrEqual(bytes)
      await same.remove()
      await expect(made.refresh()).rejects.toMatchObject({ code: 'E_NOT_FOUND' })
    } finally {
      await keeper.close()
    }
  })
})
