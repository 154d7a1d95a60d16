import { PassThrough } from 'node:stream'
import { expect, it } from 'vitest'
import { ManyhandsError } from '../../../sdk/src/errors.ts'
import { type Duplex, FRAME } from '../../../sdk/src/duplex.ts'
import { Sandbox } from '../../../sdk/src/sandbox.ts'
import { Client } from '../../../sdk/src/client.ts'
import type { Mesh, SandboxView } from '../../../sdk/src/index.ts'
import type { Context } from '../context.ts'
import { Output } from '../io.ts'
import { shell } from './sandbox-exec.ts'

const nothing = (): void => undefined
const refused = () => Promise.reject(new ManyhandsError('E_NOT_RUNNING', 'Nobody is asked here'))

it('a terminal ends, and is put back, when the command is asked to end', async () => {
  const sent: number[] = []
  const raw: boolean[] = []
  const duplex = {
    open: () => ({
      send: (type: number) => void sent.push(type),
      sendWithId: nothing,
      sendData: nothing,
      sendCredit: nothing,
      release: nothing,
    }),
  } satisfies Duplex
  const client = new Client({ request: refused, close: () => Promise.resolve() })
  const parts = { client, duplex: () => Promise.resolve(duplex), openPort: refused }
  const box = new Sandbox(parts, { id: 's' } as SandboxView)
  const stop = new AbortController()
  const io = {
    stdin: new PassThrough(),
    writeOut: () => Promise.resolve(),
    writeErr: nothing,
    columns: 80,
    interactive: true,
    writeBytes: () => Promise.resolve(),
    tty: { size: () => ({ columns: 80, rows: 24 }), raw: (on: boolean) => void raw.push(on), onResize: () => nothing },
    env: {},
  }
  const mesh = { sandboxes: { get: () => Promise.resolve(box) } } as unknown as Mesh
  const context: Context = { output: new Output(io, false), signal: stop.signal, mesh: () => Promise.resolve(mesh) }
  const ended = shell(context, ['s'], {})
  ended.catch(nothing)
  await expect.poll(() => raw).toEqual([true])
  stop.abort(new Error('SIGTERM'))
  await expect(ended).rejects.toThrow('SIGTERM')
  expect(raw).toEqual([true, false])
  expect(sent).toEqual([FRAME.cancel])
  expect(io.stdin.destroyed).toBe(true)
})
