import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { helperCommand, installHelper, newAgentToken } from '../agent-command.ts'
import { connectGuest } from '../connect.ts'
import type { GuestConnection } from '../guest-connection.ts'
import { type ChildAgent, startChildAgent } from '../testing/child-agent.ts'
import { type CodeOutcome, type CodeRequest, runCode } from './interpreter.ts'
import { MarkedOutput } from './marked-output.ts'

const MARK = 'ab'.repeat(16)

/** Where the language is on this host, or undefined. */
function find(program: string): string | undefined {
  try {
    execFileSync(program, ['--version'], { stdio: 'ignore' })
    return execFileSync('sh', ['-c', `command -v ${program}`], { encoding: 'utf8' }).trim()
  } catch {
    return undefined
  }
}

const python = find('python3')

describe('marked output', () => {
  it('is taken apart however it is cut', () => {
    const json = '{"results":[]}'
    const whole = Buffer.from(`out\0put\0${MARK}${json.length}\n${json}more\0${MARK}${json.length}\n${json}\0ab`)
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 40 })), (cuts) => {
        const split = new MarkedOutput(MARK, true, 100)
        const seen: string[] = []
        let output = ''
        const take = (bytes: Buffer): void => {
          for (const piece of split.push(bytes)) {
            if (piece.output !== undefined) output += piece.output.toString()
            if (piece.answer !== undefined) seen.push(output, piece.answer.toString())
            if (piece.answer !== undefined) output = ''
          }
        }
        let rest = whole
        for (const cut of cuts) {
          take(rest.subarray(0, cut))
          rest = rest.subarray(cut)
        }
        take(rest)
        expect(seen).toEqual(['out\0put', json, 'more', json])
      }),
    )
  })

  it('costs no more for a long answer that comes in small pieces', () => {
    const bytes = 1 << 20
    const split = new MarkedOutput(MARK, true, bytes)
    const began = performance.now()
    const pieces = [...split.push(Buffer.from(`\0${MARK}${bytes}\n`))]
    for (let at = 0; at < bytes; at += 16) pieces.push(...split.push(Buffer.alloc(16, 97)))
    expect(pieces).toEqual([{ answer: Buffer.alloc(bytes, 97) }])
    expect(performance.now() - began).toBeLessThan(2000)
  })

  it('of a guest that lies about its answer is an error', () => {
    const read = (text: string): unknown => [...new MarkedOutput(MARK, true, 100).push(Buffer.from(`\0${MARK}${text}`))]
    expect(() => read('101\n')).toThrow(expect.objectContaining({ code: 'E_OUTPUT' }))
    expect(() => read('x\n')).toThrow(expect.objectContaining({ code: 'E_PROTOCOL' }))
    expect(() => read('1'.repeat(20))).toThrow(expect.objectContaining({ code: 'E_PROTOCOL' }))
  })
})

describe('interpreters', () => {
  let agent: ChildAgent
  let box: GuestConnection
  const folder = mkdtempSync(join(tmpdir(), 'mh-code-'))

  async function connect(path: string): Promise<[ChildAgent, GuestConnection]> {
    const helper = await installHelper(folder, process.arch)
    const token = newAgentToken()
    const started = startChildAgent([helper ?? '', ...helperCommand(token).slice(1)], { PATH: path, HOME: folder })
    return [started, await connectGuest(started.transport, { agent: 'helper', token, cwd: folder })]
  }

  beforeAll(async () => {
    const folders = [dirname(process.execPath), ...(python === undefined ? [] : [dirname(python)]), '/usr/bin', '/bin']
    ;[agent, box] = await connect(folders.join(':'))
  })
  afterAll(async () => {
    await agent.stop()
    rmSync(folder, { recursive: true, force: true })
  })

  async function run(
    language: CodeRequest['language'],
    code: string,
    more: Partial<CodeRequest> = {},
  ): Promise<CodeOutcome & { out: string; err: string }> {
    const seen = { 1: '', 2: '' }
    const onOutput = (fd: 1 | 2, bytes: Uint8Array): void => {
      seen[fd] += Buffer.from(bytes).toString()
    }
    const outcome = await runCode(box, { language, code, onOutput, ...more })
    return { ...outcome, out: seen[1], err: seen[2] }
  }

  it('of the shell keep variables, functions and the folder', async () => {
    expect(await run('shell', 'x=\'a b\'; f() { echo "f $x"; }; cd /; echo err >&2')).toMatchObject({
      out: '',
      err: 'err\n',
      end: { kind: 'exit', code: 0 },
      stateKept: true,
    })
    expect(await run('shell', 'f; pwd; (exit 7)')).toMatchObject({ out: 'f a b\n/\n', end: { kind: 'exit', code: 7 } })
    expect((await run('shell', 'if then')).end).not.toEqual({ kind: 'exit', code: 0 })
    expect((await run('shell', 'f')).out).toBe('f a b\n')
    const late = await run('shell', 'sleep 50', { timeoutMs: 100 })
    expect(late).toMatchObject({ end: { kind: 'timeout' }, stateKept: false })
    expect((await run('shell', 'echo "[$x]"; exit 3')).end).toEqual({ kind: 'exit', code: 3 })
    expect(await run('shell', 'cat; echo new')).toMatchObject({ out: 'new\n', stateKept: true })
  })

  it('give all their output also when they end sooner than it is taken', async () => {
    let bytes = 0
    const onOutput = async (_fd: 1 | 2, piece: Uint8Array): Promise<void> => {
      await new Promise((resolve) => setTimeout(resolve, 5))
      bytes += piece.length
    }
    const { end } = await run('shell', "head -c 300000 /dev/zero | tr '\\0' a; exit 3", { onOutput })
    expect([end, bytes]).toEqual([{ kind: 'exit', code: 3 }, 300_000])
  })

  it('of Node keep state, wait for promises and give rich results', async () => {
    expect(await run('node', 'const a = 20; console.log("hi"); a + 1')).toMatchObject({
      out: 'hi\n',
      results: [{ type: 'text/plain', data: '21' }],
      end: { kind: 'exit', code: 0 },
    })
    const later = await run('node', 'const b = await new Promise((done) => setTimeout(done, 20, { n: a })); b')
    expect(later.results).toEqual([
      { type: 'application/json', data: '{"n":20}', base64: false },
      { type: 'text/plain', data: '{ n: 20 }', base64: false },
    ])
    const failed = await run('node', 'console.error("before"); throw new TypeError("no")')
    expect(failed).toMatchObject({
      err: 'before\n',
      error: { name: 'TypeError', message: 'no' },
      end: { kind: 'exit', code: 1 },
    })
    expect(failed.error?.trace).toContain('TypeError: no')
    expect((await run('node', 'let let')).error?.name).toBe('SyntaxError')
    const picture = 'display(Buffer.from("89504e470d0a1a0a0000", "hex"))'
    expect((await run('node', picture)).results).toEqual([
      { type: 'image/png', data: 'iVBORw0KGgoAAA==', base64: true },
    ])
    const late = await run('node', 'await new Promise(() => {})', { timeoutMs: 300 })
    expect(late).toMatchObject({ end: { kind: 'timeout' }, stateKept: true })
    expect((await run('node', 'a')).results).toMatchObject([{ data: '20' }])
  })

  it.skipIf(python === undefined)('of Python keep state, await, give rich results and tracebacks', async () => {
    const first = await run('python', 'import sys\nx = 41\nprint("hi")\nprint("err", file=sys.stderr)\nx + 1')
    expect(first).toMatchObject({ out: 'hi\n', err: 'err\n', results: [{ type: 'text/plain', data: '42' }] })
    expect((await run('python', '{"x": x}')).results).toMatchObject([
      { type: 'application/json', data: '{"x": 41}' },
      { type: 'text/plain', data: "{'x': 41}" },
    ])
    const failed = await run('python', 'def f():\n  return 1 / 0\nf()')
    expect(failed).toMatchObject({
      error: { name: 'ZeroDivisionError' },
      end: { kind: 'exit', code: 1 },
      stateKept: true,
    })
    expect(failed.error?.trace).toMatch(/line 2, in f\n\s+return 1 \/ 0/)
    expect((await run('python', 'import asyncio\nawait asyncio.sleep(0.01, "done")')).results).toMatchObject([
      { data: "'done'" },
    ])
    const picture = 'class P:\n  def _repr_png_(self): return b"\\x89PNG"\nP()'
    expect((await run('python', picture)).results[0]).toEqual({ type: 'image/png', data: 'iVBORw==', base64: true })
    const late = await run('python', 'while True: pass', { timeoutMs: 500 })
    expect(late).toMatchObject({ end: { kind: 'timeout' }, stateKept: true })
    expect((await run('python', 'x')).results).toMatchObject([{ data: '41' }])
    expect((await run('python', 'x = "other"', { context: 'second' })).stateKept).toBe(true)
    expect((await run('python', 'import os; os._exit(9)')).end).toEqual({ kind: 'exit', code: 9 })
    expect((await run('python', 'x')).error?.name).toBe('NameError')
    expect((await run('python', 'x', { context: 'second' })).results).toMatchObject([{ data: "'other'" }])
  })

  it('run the calls of a context one after another, and do not count as activity when idle', async () => {
    const both = await Promise.all([run('shell', 'sleep 0.1; echo one'), run('shell', 'echo two')])
    expect(both.map(({ out }) => out)).toEqual(['one\n', 'two\n'])
    expect(box.activity.active).toBe(0)
  })

  it('that the image lacks are a typed error; so is too much code', async () => {
    const [bare, guest] = await connect('/nonexistent')
    await expect(runCode(guest, { language: 'python', code: '1' })).rejects.toMatchObject({ code: 'E_LANGUAGE' })
    await bare.stop()
    await expect(run('shell', 'x'.repeat(2 << 20))).rejects.toMatchObject({ code: 'E_TOO_LARGE' })
  })
})
