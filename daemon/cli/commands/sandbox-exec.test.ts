import { PassThrough } from 'node:stream'
import { expect, it } from 'vitest'
import { ManyhandsError } from '../../../sdk/src/errors.ts'
import { type Channel, type ChannelListener, type Duplex, FRAME } from '../../../sdk/src/duplex.ts'
import { Sandbox } from '../../../sdk/src/sandbox.ts'
import { Client } from '../../../sdk/src/client.ts'
import type { Mesh, SandboxView } from '../../../sdk/src/index.ts'
import type { Context } from '../context.ts'
import { Output } from '../io.ts'
import { exec, logs, shell } from './sandbox-exec.ts'
import { copy } from './sandbox-files.ts'

const nothing = (): void => undefined
const refused = () => Promise.reject(new ManyhandsError('E_NOT_RUNNING', 'Nobody is asked here'))

/** What a command of a sandbox is given, and the other end of its stream. */
function sandbox(json: boolean, columns?: number) {
  const sent: number[] = []
  const raw: boolean[] = []
  const out: string[] = []
  const ends: ChannelListener[] = []
  const channel: Channel = {
    send: (type) => void sent.push(type),
    sendWithId: nothing,
    sendData: nothing,
    sendCredit: nothing,
    release: nothing,
  }
  const duplex: Duplex = {
    open: (_type, _body, end: ChannelListener) => {
      ends.push(end)
      return channel
    },
  }
  const client = new Client({ request: refused, close: () => Promise.resolve() })
  const box = new Sandbox({ client, duplex: () => Promise.resolve(duplex), openPort: refused }, {
    id: 's',
  } as SandboxView)
  const stop = new AbortController()
  const io = {
    stdin: new PassThrough(),
    writeOut: async (text: string) => void out.push(text),
    writeErr: nothing,
    columns,
    interactive: true,
    writeBytes: async (_stream: string, bytes: Uint8Array) => void out.push(new TextDecoder().decode(bytes)),
    tty: { size: () => ({ columns: 80, rows: 24 }), raw: (on: boolean) => void raw.push(on), onResize: () => nothing },
    env: {},
  }
  const mesh = { sandboxes: { get: () => Promise.resolve(box) } } as unknown as Mesh
  const context: Context = { output: new Output(io, json), signal: stop.signal, mesh: () => Promise.resolve(mesh) }
  return { context, stop, io, sent, raw, out, ends }
}

it('a terminal ends, and is put back, when the command is asked to end', async () => {
  const { context, stop, io, sent, raw } = sandbox(false)
  const ended = shell(context, ['s'], {})
  ended.catch(nothing)
  await expect.poll(() => raw).toEqual([true])
  stop.abort(new Error('SIGTERM'))
  await expect(ended).rejects.toThrow('SIGTERM')
  expect(raw).toEqual([true, false])
  expect(sent).toEqual([FRAME.cancel])
  expect(io.stdin.destroyed).toBe(true)
})

it('logs --json prints one object a line, whatever the process wrote', async () => {
  const { context, out, ends } = sandbox(true)
  const told = logs(context, 's', '1', {})
  await expect.poll(() => ends.length).toBe(1)
  const [end] = ends
  end?.onData?.(1, Buffer.from('{"of": "the guest"}\n\u00fc').subarray(0, 21))
  end?.onData?.(1, Buffer.from('\u00fc').subarray(1))
  end?.onData?.(2, Buffer.from('no'))
  end?.onFrame(FRAME.finish, 0, '')
  expect(await told).toBe(0)
  expect(out.map((line) => JSON.parse(line) as unknown)).toEqual([
    { stream: 'stdout', text: '{"of": "the guest"}\n' },
    { stream: 'stdout', text: '\u00fc' },
    { stream: 'stderr', text: 'no' },
  ])
})

it('a terminal shows characters whole that come in two pieces', async () => {
  const { context, out, ends } = sandbox(false, 80)
  const told = logs(context, 's', '1', {})
  await expect.poll(() => ends.length).toBe(1)
  const [end] = ends
  const bytes = Buffer.from('größe')
  end?.onData?.(1, bytes.subarray(0, 3))
  end?.onData?.(1, bytes.subarray(3))
  end?.onFrame(FRAME.finish, 0, '')
  await told
  expect(out.join('')).toBe('größe')
})

it('Ctrl-C before the command was started starts none', async () => {
  const { context, stop, ends } = sandbox(false)
  const ended = exec(context, ['s', 'make'], {})
  stop.abort(new Error('interrupted'))
  await expect(ended).rejects.toThrow('interrupted')
  expect(ends).toEqual([])
})

it('cp to standard output takes no --json: the content is no JSON', async () => {
  const { context, out, ends } = sandbox(true)
  await expect(copy(context, 's:notes.txt', '-')).rejects.toMatchObject({ code: 'E_BAD_REQUEST' })
  expect([out, ends]).toEqual([[], []])
})
