/** The command line on a daemon of the local API's contract: what it prints where, and how it exits. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ManyhandsError } from '../../sdk/src/index.ts'
import { main } from '../../daemon/cli/main.ts'
import type { Io } from '../../daemon/cli/io.ts'
import { type FakeDaemon, startFake } from './sdk-fake.ts'

interface Outcome {
  readonly code: number
  readonly out: string
  readonly err: string
}

let daemon: FakeDaemon
let folder: string
const before = process.env['MANYHANDS_HOME']

beforeAll(async () => {
  daemon = await startFake()
  folder = await mkdtemp(join(tmpdir(), 'mh-cli-'))
  process.env['MANYHANDS_HOME'] = daemon.home
  await writeFile(join(folder, 'double.ts'), 'export default (n) => n * 2\n')
  await writeFile(join(folder, 'bad.js'), 'export default () => {\n  throw new RangeError("too far \\u001b[2J")\n}\n')
  await writeFile(join(folder, 'inputs.jsonl'), '1\n2\n\n3\n')
})
afterAll(async () => {
  if (before === undefined) delete process.env['MANYHANDS_HOME']
  else process.env['MANYHANDS_HOME'] = before
  await daemon.stop()
  await rm(folder, { recursive: true, force: true })
})

async function cli(
  args: readonly string[],
  stdin: string | Readable = '',
  columns?: number,
  more: Partial<Io> = {},
): Promise<Outcome> {
  let out = ''
  let err = ''
  const code = await main(args, {
    stdin: typeof stdin === 'string' ? Readable.from([stdin]) : stdin,
    writeOut: async (text) => {
      out += text
    },
    writeErr: (text) => {
      err += text
    },
    columns,
    interactive: false,
    writeBytes: () => Promise.resolve(),
    tty: undefined,
    env: {},
    ...more,
  })
  return { code, out, err }
}

const file = (name: string) => join(folder, name)

describe('manyhands', () => {
  it.each([
    'status',
    'peers',
    'capabilities',
    'doctor',
    'members',
    'invite',
    'paths',
    'version',
    'config show',
    'task ls',
  ])('%s prints text for people, and one JSON object with --json', async (command) => {
    const text = await cli(command.split(' '))
    expect(text).toMatchObject({ code: 0 })
    expect(text.out.trim()).not.toBe('')
    const json = await cli([...command.split(' '), '--json'])
    expect(json).toMatchObject({ code: 0, err: '' })
    expect(json.out.trimEnd()).not.toContain('\n')
    expect(JSON.parse(json.out)).toBeTypeOf('object')
  })

  it('status says what is wrong with a node that was put out of the mesh', async () => {
    expect((await cli(['status'])).out).not.toContain('put out')
    daemon.putOut(true)
    try {
      expect((await cli(['status'])).out).toMatch(
        /^health +degraded\n +this node was put out of the mesh: see manyhands doctor\n/m,
      )
    } finally {
      daemon.putOut(false)
    }
  })

  it('--version is the version command', async () => {
    const version = await cli(['version'])
    expect(version.out).toMatch(/^\d+\.\d+\.\d+\n$/)
    expect(await cli(['--version'])).toEqual(version)
    expect(await cli(['--version', '--json'])).toEqual(await cli(['version', '--json']))
  })

  it('run prints the output alone on stdout', async () => {
    expect(await cli(['run', file('double.ts'), '--input-json', '21'])).toEqual({ code: 0, out: '42\n', err: '' })
    expect(
      await cli(['run', '-', '--input-json', '1'], 'export default (n) => { console.log("seen", n); return "text" }'),
    ).toEqual({
      code: 0,
      out: 'text\n',
      err: 'seen 1\n',
    })
    expect((await cli(['run', file('double.ts'), '--input', '-'], '4')).out).toBe('8\n')
    expect(
      JSON.parse((await cli(['run', file('double.ts'), '--input-json', '3', '--json', '--explain'])).out),
    ).toMatchObject({
      state: 'completed',
      output: 6,
      explanation: { rounds: [] },
    })
  })

  it('options that may be given again leave the words after them alone', async () => {
    const given = ['--limit', 'wall=5s', '--limit', 'memory=32MB,calls=3', '--label', 'gpu', '--label', 'fast']
    expect((await cli(['run', ...given, file('double.ts'), '--input-json', '2'])).out).toBe('4\n')
    expect(daemon.tasks.lastRequest).toMatchObject({
      requires: { labels: ['gpu', 'fast'] },
      limits: { wallMs: 5000, memoryBytes: 32 << 20, hostCalls: 3 },
    })
  })

  it('run tells a failure with its place, and exits by its code', async () => {
    const failed = await cli(['run', file('bad.js')])
    expect(failed.code).toBe(1)
    expect(failed.out).toBe('')
    expect(failed.err).toContain('error: RangeError: too far \\x1b[2J [E_GUEST]')
    expect(failed.err).toContain('at bad.js:2')
    const json = await cli(['run', file('bad.js'), '--json'])
    expect(JSON.parse(json.out)).toMatchObject({ error: { code: 'E_GUEST', failure: { line: 2 } } })
    expect((await cli(['run', file('nothing.ts')])).code).toBe(66)
  })

  it('API-11 escapes an output for the terminal, and leaves it exact in a pipe', async () => {
    const source = 'export default () => "a\\u001b]52;c;aGk=\\u0007b"'
    expect((await cli(['run', '-'], source)).out).toBe('a\u001b]52;c;aGk=\u0007b\n')
    expect((await cli(['run', '-'], source, 80)).out).toBe('a\\x1b]52;c;aGk=\\x07b\n')
    const json = (await cli(['run', '-', '--json'], source.replace('\\u001b', '\\u009b'), 80)).out
    expect(json).not.toContain('\u009b')
    expect(JSON.parse(json)).toMatchObject({ output: 'a\u009b]52;c;aGk=\u0007b' })
  })

  it('run --detach prints the id, which the task commands take', async () => {
    const id = (await cli(['run', file('double.ts'), '--input-json', '5', '--detach', '--name', 'mine'])).out.trim()
    const watched = await cli(['task', 'watch', id, '--json'])
    expect(watched.code).toBe(0)
    expect(
      watched.out
        .trim()
        .split('\n')
        .map((line) => (JSON.parse(line) as { type: string }).type)
        .at(-1),
    ).toBe('end')
    expect((await cli(['task', 'show', id])).out).toMatch(/output +10/)
    expect((await cli(['task', 'ls'])).out).toContain('mine')
    expect((await cli(['task', 'explain', id])).code).toBe(0)
    expect((await cli(['task', 'cancel', id])).code).toBe(0)
    expect((await cli(['task', 'show', 'nothing'])).code).toBe(66)
  })

  it('map prints results in order, a line each', async () => {
    expect(await cli(['map', file('double.ts'), '--inputs', file('inputs.jsonl')])).toEqual({
      code: 0,
      out: '2\n4\n6\n',
      err: '',
    })
    expect((await cli(['map', file('double.ts'), '--inputs', '-', '--json'], '5')).out).toBe(
      '{"index":0,"ok":true,"output":10}\n',
    )
    const failing = await cli(['map', file('bad.js'), '--inputs', file('inputs.jsonl')])
    expect(failing).toMatchObject({ code: 1, out: 'null\nnull\nnull\n' })
    expect(failing.err).toContain('input 2: too far \\x1b[2J [E_GUEST]')
    const written = await cli([
      'map',
      file('double.ts'),
      '--inputs',
      file('inputs.jsonl'),
      '--out',
      file('out.jsonl'),
      '--json',
    ])
    expect(JSON.parse(written.out)).toMatchObject({ total: 3, failed: 0 })
    expect((await readFile(file('out.jsonl'), 'utf8')).split('\n')[2]).toBe('{"index":2,"ok":true,"output":6}')
    const wrong = await cli(['map', file('double.ts'), '--inputs', '-'], '1\n{oops\n')
    expect(wrong.code).toBe(64)
    expect(wrong.err).toContain('line 2 of standard input')
  })

  it.each([
    ['run -'],
    ['run double.ts --input -'],
    ['map double.ts --inputs -'],
    ['secret set github'],
    ['receipt verify -'],
  ])('Ctrl-C ends %s while it waits for standard input', async (command) => {
    const silent = new Readable({
      // Somebody waits for it now
      read: () => void setImmediate(() => process.emit('SIGINT')),
    })
    const args = command.split(' ').map((word) => (word.endsWith('.ts') ? file(word) : word))
    expect(await cli(args, silent)).toEqual({ code: 130, out: '', err: 'interrupted\n' })
    expect(silent.destroyed).toBe(true)
  })

  it('events says beside them, once, that the connection was lost and that it is back', async () => {
    const told: string[] = []
    daemon.emit({ type: 'peer-up', peer: 'p', name: 'one' })
    const outcome = await cli(['events', '--json'], '', undefined, {
      writeOut: async (text) => {
        told.push(text)
        daemon.faults?.cutConnections()
      },
      writeErr: (text) => {
        told.push(text)
        if (text.startsWith('connected')) process.emit('SIGINT')
      },
    })
    expect(outcome.code).toBe(0)
    expect(told).toEqual([
      `${JSON.stringify({ type: 'peer-up', peer: 'p', name: 'one' })}\n`,
      'the connection to the daemon was lost; trying again\n',
      'connected again\n',
    ])
  })

  it('Ctrl-C ends the asking for a secret, and gives the terminal back', async () => {
    const raw: boolean[] = []
    const tty = {
      size: () => ({ columns: 80, rows: 24 }),
      raw: (on: boolean) => void raw.push(on),
      onResize: () => () => undefined,
    }
    const asked = await cli(['secret', 'set', 'github'], 's3\u0003', 80, { tty })
    expect(asked).toEqual({ code: 130, out: '', err: 'value of github: \ninterrupted\n' })
    expect(raw).toEqual([true, false])
  })

  it('receipt verify needs no daemon, and exits 65 for a forged one', async () => {
    const id = (await cli(['run', file('double.ts'), '--input-json', '5', '--detach'])).out.trim()
    const receipts = (await cli(['task', 'receipts', id])).out
    await writeFile(file('receipts.json'), receipts)
    const home = process.env['MANYHANDS_HOME']
    process.env['MANYHANDS_HOME'] = join(folder, 'no-daemon')
    try {
      expect(await cli(['receipt', 'verify', file('receipts.json')])).toMatchObject({ code: 0, err: '' })
      const parsed = JSON.parse(receipts) as { receipts: { payload: string }[] }
      const pretty = JSON.stringify(parsed.receipts[0], null, 2)
      expect((await cli(['receipt', 'verify', '-'], pretty)).code).toBe(0)
      const forged = await cli(['receipt', 'verify', '-', '--json'], pretty.replace('"payload": "ey', '"payload": "eY'))
      expect(forged.code).toBe(65)
      expect(JSON.parse(forged.out)).toMatchObject({ valid: false })
      expect((await cli(['receipt', 'verify', '-'], '[]')).code).toBe(66)
      const down = await cli(['status'])
      expect(down).toMatchObject({ code: 69, out: '' })
      expect(down.err).toContain('hint: Start it with: manyhands up')
    } finally {
      process.env['MANYHANDS_HOME'] = home
    }
  })

  it('revoke takes an id or a name', async () => {
    expect((await cli(['revoke', 'a'])).code).toBe(0)
    expect((await cli(['revoke', 'nobody'])).code).toBe(66)
  })

  it.each([
    [['frobnicate']],
    [['run']],
    [['map', 'x.ts']],
    [['run', 'x.ts', '--no-such-option']],
    [['run', 'x.ts', '--grade', 'paper']],
    [['run', 'x.ts', '--limit', 'speed=1']],
    [['run', 'x.ts', '--on', 'local', '--on', 'other']],
    [['run', 'x.ts', '--grade', 'jailed', '--grade', 'process']],
    [['run', 'x.ts', '--limit', 'wall=1s', '--limit', 'wall=5s']],
    [['sandbox', 'create', '--limit', 'cpus=1,cpus=2']],
    [['policy', 'explain', 'https://a.example/', '--for', 'agent/a', '--for', 'agent/b']],
    [['run', 'x.ts', '--input-json', '{']],
    [['task', 'ls', '--state', 'sleeping']],
    [['invite', '--ttl', 'soon']],
    [['completion', 'powershell']],
    [['up', '--set', 'nothing']],
    [['task']],
    [['task', 'shwo', 'x']],
    [['status', 'extra']],
  ])('%j is wrong usage: 64, what and what to do on stderr, and one JSON object with --json', async (args) => {
    const outcome = await cli(args)
    expect(outcome).toMatchObject({ code: 64, out: '' })
    expect(outcome.err).toMatch(/^error: Cannot .*\[E_BAD_REQUEST\]\nhint: /)
    const json = await cli([...args, '--json'])
    expect(json.code).toBe(64)
    expect(JSON.parse(json.out)).toMatchObject({
      error: { code: 'E_BAD_REQUEST', hint: expect.any(String) as unknown },
    })
  })

  it('says what is wanted after a word that is no command by itself, and what was meant', async () => {
    expect((await cli(['receipt'])).err).toContain('after "manyhands receipt" one of these is wanted: verify [')
    expect((await cli(['task', 'shwo'])).err).toContain("unknown command 'shwo'; did you mean show? [")
    expect((await cli(['task', 'shwo'])).err).toContain('hint: See: manyhands task --help')
  })

  it.each([
    [['secret', 'set', 'github', 'hunter2']],
    [['secret', 'set', 'github', "--value=hunter2'\n"]],
    [['secret', 'set', 'github', '--json', 'hunter2']],
  ])('%j repeats no word that may be a secret, and says how it is passed', async (args) => {
    const { code, out, err } = await cli(args)
    expect(code).toBe(64)
    expect(out + err).not.toContain('hunter2')
    expect(err).toContain('hint: A value is never taken from the command line: manyhands secret set <name> < file')
  })

  it.each([['status'], ['status', '--json'], ['--help']])(
    '%s says when standard output cannot be written',
    async (...args) => {
      const failing = () => Promise.reject(new ManyhandsError('E_STORAGE', 'Cannot write the output: no space left'))
      const outcome = await cli(args, '', undefined, { writeOut: failing })
      expect(outcome).toMatchObject({ code: 74, err: 'error: Cannot write the output: no space left [E_STORAGE]\n' })
    },
  )

  it('prints help on stdout', async () => {
    expect((await cli(['--help'])).out).toContain('manyhands')
    expect((await cli([])).code).toBe(0)
    expect((await cli(['run', '--help'])).out).toContain('Examples:')
    const show = await cli(['task', 'show', '--help'])
    expect(show.out).toContain('Usage: manyhands task show [options] <id>')
    for (const words of ['help task show', 'task help show']) expect(await cli(words.split(' '))).toEqual(show)
    expect((await cli(['help', 'task', 'nope'])).err).toContain("unknown command 'nope'")
    expect(await cli(['help', 'nope'])).toMatchObject({ code: 64, out: '' })
    expect(await cli(['help'])).toEqual(await cli(['--help']))
    for (const stream of ['map', 'events', 'task watch', 'egress log'])
      expect((await cli([...stream.split(' '), '--help'])).out).toMatch(/--json +print one JSON object a line/)
  })
})
