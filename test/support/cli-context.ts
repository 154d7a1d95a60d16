import { Readable } from 'node:stream'
import type { Context } from '../../daemon/cli/context.ts'
import { type Io, Output } from '../../daemon/cli/io.ts'
import type { Mesh } from '../../sdk/src/index.ts'

/** The outside of a command that nobody types to and nobody reads. */
export const silentIo: Io = {
  stdin: Readable.from([]),
  writeOut: () => Promise.resolve(),
  writeErr: () => undefined,
  columns: undefined,
  interactive: false,
  writeBytes: () => Promise.resolve(),
  tty: undefined,
  env: {},
}

/** What a command gets. @param mesh what it uses of a client. @default none: it must not ask the daemon */
export function cliContext(parts: { mesh?: object; io?: Partial<Io>; signal?: AbortSignal } = {}): Context {
  const { mesh, io, signal = new AbortController().signal } = parts
  const client =
    mesh === undefined ? Promise.reject<Mesh>(new Error('The daemon is asked')) : Promise.resolve(mesh as Mesh)
  client.catch(() => undefined)
  return { output: new Output({ ...silentIo, ...io }, false), signal, mesh: () => client }
}
