import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { gitOutput, runGit, spawnGit } from './git-process.ts'
import { isNewEnough, lookForGit, parseVersion, probeGit } from './git-tools.ts'

let folder = ''
let repository = ''

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'git-process-'))
  repository = join(folder, 'a.git')
  execFileSync('git', ['init', '-q', '--bare', '--template=', repository])
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('finding git', () => {
  it('reads versions and knows the oldest', () => {
    expect(parseVersion('git version 2.39.5 (Apple Git-154)\n')).toBe('2.39.5')
    expect(parseVersion('git version 2.52.0.rc1')).toBe('2.52.0')
    expect(parseVersion('hg 1.0')).toBeUndefined()
    expect(['2.38.9', '1.99.0', '2.39.0', '2.100.1', '3.0'].map(isNewEnough)).toEqual([false, false, true, true, true])
  })

  it('says what is wrong when git is absent, old or silent', async () => {
    expect(await lookForGit({})).toMatchObject({ ok: false, reason: 'git is not installed' })
    const old = join(folder, 'old-git')
    writeFileSync(old, '#!/bin/sh\necho git version 2.30.2\n')
    chmodSync(old, 0o755)
    expect(await lookForGit({ git: old })).toMatchObject({ ok: false, version: '2.30.2' })
    expect(await lookForGit({ git: '/bin/true' })).toMatchObject({ ok: false, path: '/bin/true' })
    const git = execFileSync('/bin/sh', ['-c', 'command -v git'], { encoding: 'utf8' }).trim()
    expect(await lookForGit({ git })).toMatchObject({
      ok: true,
      grade: 'process',
      missing: [expect.stringContaining('bwrap')],
    })
  })
})

describe('a git process', () => {
  it('sees only the environment and configuration made for it', async () => {
    const hostile = {
      GIT_CONFIG_COUNT: '1',
      GIT_CONFIG_KEY_0: 'alias.x',
      GIT_CONFIG_VALUE_0: '!id',
      GIT_DIR: '/elsewhere',
    }
    Object.assign(process.env, hostile)
    try {
      for (const foreign of [false, true]) {
        const listing = await gitOutput({ args: ['config', '--list', '--show-scope'], repository, foreign })
        expect(listing.toString()).toContain('command\tcore.hookspath=/dev/null')
        expect(listing.toString()).not.toMatch(/^(system|global)\t|alias/m)
      }
    } finally {
      for (const name of Object.keys(hostile)) delete process.env[name]
    }
  })

  it('behind the walls reads the repository, writes only its quarantine and reaches nothing', async (context) => {
    const report = await probeGit()
    if (!report.ok || report.grade !== 'jailed') return context.skip('no bubblewrap here')
    writeFileSync(join(folder, 'secret'), 'x')
    const objects = join(folder, 'objects')
    mkdirSync(objects)
    const script = `
      cat "$1/HEAD" >/dev/null && echo reads
      [ -e "$2" ] || echo hidden
      (: > "$1/HEAD") || echo kept
      "$0" hash-object -w --stdin </dev/null && echo wrote`
    const call = { args: [repository, join(folder, 'secret')], script, repository, objects, foreign: true }
    const { stdout } = await runGit({ ...call, reads: ['/bin/cat'] })
    expect(stdout.toString()).toMatch(/^reads\nhidden\nkept\ne69de29bb2d1d6434b8b29ae775ad8c2e48c5391\nwrote\n$/)
    let reached = 0
    const server = createServer((socket) => {
      reached += 1
      socket.destroy()
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const address = server.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    const outward = { args: [`git://127.0.0.1:${port}/x`], script: 'GIT_ALLOW_PROTOCOL=git "$0" ls-remote "$1"' }
    expect((await runGit({ ...outward, foreign: true })).code).not.toBe(0)
    expect(reached).toBe(0)
    await runGit({ ...outward, foreign: false })
    expect(reached).toBe(1)
    server.close()
  })

  it('ends at its wall time, its CPU time, its memory, its output and the signal', async () => {
    const spin = { args: [], script: 'while :; do :; done', foreign: false }
    await expect(runGit({ ...spin, limits: { wallMs: 200 } })).rejects.toMatchObject({ code: 'E_TIMEOUT' })
    const burnt = await runGit({ ...spin, limits: { cpuSeconds: 1 } })
    expect(burnt.code).toBeGreaterThan(128)
    const speak = {
      args: [],
      script: 'while :; do echo 0123456789; done',
      foreign: true,
      limits: { outputBytes: 1000 },
    }
    await expect(runGit(speak)).rejects.toMatchObject({ code: 'E_TOO_LARGE' })
    const stop = new AbortController()
    const waiting = runGit({ args: ['cat-file', '--batch'], repository, foreign: true, signal: stop.signal })
    waiting.catch(() => {})
    const child = await spawnGit({ args: ['cat-file', '--batch'], repository, foreign: true, signal: stop.signal })
    stop.abort(new Error('enough'))
    // It waits for input that never comes: nothing but the signal ends it
    expect(await child.ended).toMatchObject({ cut: 'signal' })
    const kept = await runGit(
      { args: ['hash-object', '--stdin', '-t', 'tree'], repository, foreign: true, limits: { memoryBytes: 32 << 20 } },
      Buffer.alloc(64 << 20),
    )
    expect(kept.code).not.toBe(0)
  })

  it('tells how it failed without telling where', async () => {
    const result = await runGit({ args: ['cat-file', '-p', 'nothing'], repository, foreign: true })
    expect(result.code).toBe(128)
    expect(result.stderr).toMatch(/^fatal: /)
    expect(result.stderr).not.toContain(folder)
    await expect(gitOutput({ args: ['cat-file', '-p', 'nothing'], repository, foreign: false })).rejects.toMatchObject({
      code: 'E_INTERNAL',
    })
  })
})

it('where too many files are open for another process the call fails, and nothing else does', () => {
  const program = `
    import { closeSync, openSync } from 'node:fs'
    import { runGit } from ${JSON.stringify(new URL('git-process.ts', import.meta.url).href)}
    const call = { args: ['--version'], foreign: false }
    await runGit(call)
    const open = []
    // as many as the limit below leaves
    try { for (;;) open.push(openSync('/dev/null')) } catch {}
    for (const file of open.slice(-4)) closeSync(file)
    const failed = await runGit(call).catch((error) => error)
    for (const file of open.slice(0, -4)) closeSync(file)
    await new Promise(setImmediate)
    console.log(failed.code, (await runGit(call)).code)`
  const args = ['-c', 'ulimit -n 256; exec "$@"', 'sh', process.execPath, '--input-type=module', '-e', program]
  expect(execFileSync('/bin/sh', args, { encoding: 'utf8' })).toBe('E_OVERLOADED 0\n')
})
