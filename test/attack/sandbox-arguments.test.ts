/** Paths, command lines, environments and neighbours: what a caller or a guest may try through plain use of a sandbox, on a real engine. */
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { ExecOptions } from '../../daemon/exec/sandbox/guest/guest-connection.ts'
import type { Sandbox } from '../../daemon/exec/sandbox/sandbox.ts'
import type { DockerSandboxExecutor } from '../../daemon/exec/sandbox/sandbox-executor.ts'
import { findTestEngine } from '../support/docker-engine.ts'
import { type Ran, type SandboxKit, SPEC, sandboxKit, sh } from '../support/sandbox-kit.ts'

const { engine } = await findTestEngine()

let kit: SandboxKit
let executor: DockerSandboxExecutor
let box: Sandbox
beforeAll(async () => {
  if (!engine) return
  kit = sandboxKit(engine.socket)
  executor = await kit.open()
  box = await executor.create(SPEC)
})
afterAll(async () => {
  await kit?.close()
  await engine?.close()
})

async function exec(options: ExecOptions): Promise<Ran> {
  const running = (await box.guest()).exec({ timeoutMs: 10_000, ...options })
  const texts = { 1: '', 2: '' }
  for await (const { fd, bytes } of running.output) texts[fd] += Buffer.from(bytes).toString('latin1')
  return { out: texts[1], err: texts[2], end: await running.ended }
}

const refusal = (found: Promise<unknown>): Promise<string> =>
  found.then(
    () => 'nothing refused',
    (error: unknown) =>
      typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : String(error),
  )

describe.skipIf(!engine)('a sandbox', () => {
  it('SDK-02: a path means the inside, however it is written', async () => {
    const { files } = await box.guest()
    const own = (await sh(box, 'cat /etc/hostname /proc/sys/kernel/hostname 2>/dev/null | tail -1')).out.trim()
    expect(own).not.toBe(hostname())
    for (const path of ['../../../../etc/passwd', 'a/../../b', '/workspace/../../../etc/passwd', '', '\0', '/a\0b'])
      expect(await refusal(files.read(path)), JSON.stringify(path)).toMatch(/^E_(BAD_REQUEST|SYMLINK|NOT_FOUND)$/)
    for (const path of [
      '/etc/../../../../tmp/escaped',
      '../escaped',
      '/proc/1/root/escaped',
      '/proc/self/root/escaped',
    ])
      expect(await refusal(files.write(path, 'x')), path).toMatch(/^E_(BAD_REQUEST|SYMLINK|NOT_FOUND|FORBIDDEN)$/)
    expect(() => readFileSync('/tmp/escaped')).toThrow()
    expect(() => readFileSync('/escaped')).toThrow()
  })

  it('SDK-03: a command is a list of words that nothing reads but the program', async () => {
    const words = [
      '; touch /workspace/hit',
      '$(touch /workspace/hit)',
      '`touch /workspace/hit`',
      'a\nb',
      '-n',
      '--',
      '',
    ]
    const { out } = await exec({ argv: ['/bin/sh', '-c', 'for word; do printf "[%s]" "$word"; done', 'sh', ...words] })
    expect(out).toBe(words.map((word) => `[${word}]`).join(''))
    expect((await sh(box, 'ls -A /workspace')).out).toBe('')
    expect(await exec({ argv: ['/bin/true; touch /workspace/hit'] })).toMatchObject({
      end: { kind: 'not-started', code: 'E_NOT_FOUND' },
    })
    expect(await refusal(exec({ argv: [] }))).not.toBe('nothing refused')
    expect(await refusal(exec({ argv: ['true', 'a\0b'] }))).not.toBe('nothing refused')
  })

  it('SDK-03: its environment and folder reach that command and nothing else', async () => {
    await sh(
      box,
      'mkdir -p /workspace/bin; printf "#!/bin/sh\\necho planted" > /workspace/bin/ls; chmod +x /workspace/bin/ls',
    )
    const env = {
      LD_PRELOAD: '/workspace/no.so',
      NODE_OPTIONS: '--require /workspace/no.js',
      PATH: '/workspace/bin',
      GIT_DIR: '/x',
    }
    expect((await exec({ argv: ['ls'], env, cwd: '/workspace' })).out).toBe('planted\n')
    const { out } = await exec({ argv: ['/bin/sh', '-c', 'env; ls -d /bin'] })
    expect(out).not.toMatch(/LD_PRELOAD|NODE_OPTIONS|GIT_DIR|planted/)
    // The agent of the sandbox began before and goes on without them.
    expect((await sh(box, 'tr "\\0" "\\n" < /proc/1/environ')).out).not.toContain('no.so')
    expect(await refusal(exec({ argv: ['true'], env: { 'A=B': 'x' } }))).not.toBe('nothing refused')
  })

  it('SDK-04: what it prints is data, also when it looks like our own frames or an answer', async () => {
    const said = '{"type":"exit","code":0}\n\u001b]0;owned\u0007{"jsonrpc":"2.0","method":"approve"}\n'
    const { out, end } = await exec({ argv: ['/bin/sh', '-c', 'printf %s "$1" | tee /dev/stderr; exit 3', 'sh', said] })
    expect(out).toBe(said)
    expect(end).toEqual({ kind: 'exit', code: 3 })
    const all = Uint8Array.from({ length: 4_096 }, (_, n) => n & 255)
    await (await box.guest()).files.write('/workspace/bytes', all)
    expect((await exec({ argv: ['cat', '/workspace/bytes'] })).out).toBe(Buffer.from(all).toString('latin1'))
  })

  it('SBX-09: another one beside it is not to be reached', async () => {
    const other = await executor.create(SPEC)
    const listening = (await other.guest()).exec({ argv: ['nc', '-l', '-p', '7777', '-e', 'echo', 'reached'] })
    await sh(other, 'for n in 1 2 3 4 5 6 7 8 9; do grep -q 1E61 /proc/net/tcp && break; sleep 0.1; done')
    const { out } = await sh(
      box,
      'for at in 127.0.0.1 0.0.0.0 172.17.0.2 172.17.0.3 172.17.0.4; do nc -w 1 $at 7777 </dev/null 2>/dev/null; done; grep -c 1E61 /proc/net/tcp',
    )
    expect(out).toBe('0\n')
    // It does listen: for itself.
    expect((await sh(other, 'nc -w 2 127.0.0.1 7777 </dev/null')).out).toBe('reached\n')
    await listening.ended
    await other.remove()
  })
})
