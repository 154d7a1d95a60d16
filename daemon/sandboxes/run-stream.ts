/** Files, folders and ports of a guest joined to their asker. */
import type { FileReply } from '../../protocol/api-sandboxes.ts'
import { MeshError } from '../../protocol/errors.ts'
import { LIMITS } from '../../protocol/limits.ts'
import type { OpReply, SandboxOp } from '../../protocol/sandbox/op.ts'
import type { ByteDuplex, GuestConnection, GuestFiles } from '../exec/sandbox/guest/guest-connection.ts'
import { fileEntry } from './guest-end.ts'
import type { OpLink } from './op-link.ts'

type Op<Name extends SandboxOp['op']> = Extract<SandboxOp, { op: Name }>

/** Entries of one folder that are told; with more the listing is refused. */
const LIST_ENTRIES = 5_000
const PORT_MS = 30_000

/** Sends all of `source`, and ends it when the asker is gone. */
export async function passAll(source: AsyncIterable<Uint8Array>, link: OpLink): Promise<void> {
  for await (const bytes of source) {
    await link.send(1, bytes)
    link.signal.throwIfAborted()
  }
}

/**
 * What the asker sends, pulled: the asker waits while nobody pulls. Ends with the asker's half, or when nobody wants it any more. @throws the signal's reason
 * @param unwanted never rejects
 */
export async function* received(link: OpLink, unwanted?: Promise<void>): AsyncGenerator<Uint8Array, void, undefined> {
  const waiting: { bytes: Uint8Array; taken: () => void }[] = []
  let over = false
  let left = false
  let wake: () => void = () => undefined
  link.receive({
    data: (bytes) => {
      // Who pulled has what it wanted: the rest is let through to nowhere, so that the sender comes to its end
      if (left) return undefined
      return new Promise((taken) => {
        waiting.push({ bytes, taken })
        wake()
      })
    },
    finish: () => {
      over = true
      wake()
    },
    control: () => undefined,
  })
  let stopped = false
  void unwanted?.then(() => {
    stopped = true
    wake()
  })
  const onAbort = (): void => wake()
  link.signal.addEventListener('abort', onAbort, { once: true })
  try {
    for (;;) {
      link.signal.throwIfAborted()
      const piece = stopped ? undefined : waiting.shift()
      if (piece) {
        try {
          yield piece.bytes
        } finally {
          piece.taken()
        }
      } else if (over || stopped) return
      else await new Promise<void>((resolve) => (wake = resolve))
    }
  } finally {
    left = true
    link.signal.removeEventListener('abort', onAbort)
    for (const { taken } of waiting) taken()
  }
}

export async function fileOp(
  files: GuestFiles,
  { request }: Op<'files'>,
  inside: (path: string) => string,
): Promise<FileReply> {
  const path = inside(request.path)
  switch (request.op) {
    case 'list':
      return { entries: (await files.list(path, { maxEntries: LIST_ENTRIES })).map(fileEntry) }
    case 'stat':
      return { entries: [fileEntry({ name: request.path, ...(await files.stat(path)) })] }
    case 'mkdir':
      await files.mkdir(path)
      return { entries: [] }
    case 'move':
      await files.move(path, inside(request.to))
      return { entries: [] }
    case 'remove':
      await files.remove(path, request.recursive === undefined ? {} : { recursive: request.recursive })
      return { entries: [] }
  }
}

/** @throws MeshError E_TOO_LARGE before anything was sent */
export async function readSmall(files: GuestFiles, path: string, link: OpLink): Promise<OpReply> {
  const bytes = await files.read(path, { maxBytes: LIMITS.sandboxSmallBytes, signal: link.signal })
  if (bytes.length > 0) await link.send(1, bytes)
  return {}
}

export async function watchOp(files: GuestFiles, path: string, link: OpLink): Promise<OpReply> {
  for await (const { kind, name } of files.watch(path, { signal: link.signal }))
    await link.send(1, Buffer.from(`${JSON.stringify({ kind, name })}\n`))
  return {}
}

/** Both directions until both have ended; the first failure ends the other. */
export async function portOp(guest: GuestConnection, { port }: Op<'port'>, link: OpLink): Promise<OpReply> {
  const connection = await guest.dial(port, { signal: link.signal })
  const close = (): void => connection.close()
  link.signal.addEventListener('abort', close, { once: true })
  try {
    await Promise.all([guestToAsker(connection, link), askerToGuest(connection, link)])
  } finally {
    link.signal.removeEventListener('abort', close)
    connection.close()
  }
  return {}
}

async function guestToAsker(connection: ByteDuplex, link: OpLink): Promise<void> {
  await passAll(connection.readable, link)
  link.finish()
}

async function askerToGuest(connection: ByteDuplex, link: OpLink): Promise<void> {
  for await (const bytes of received(link, connection.closed)) await connection.write(bytes)
  connection.end()
}

/** Between tries: soon at first, as most servers take moments to start. */
const tryAfterMs = (attempt: number): number => Math.min(10 * 1.5 ** attempt, 250)

/** @throws MeshError E_TIMEOUT */
export async function waitPort(
  guest: Pick<GuestConnection, 'dial'>,
  { port, timeoutMs = PORT_MS }: Op<'wait-port'>,
  signal: AbortSignal,
): Promise<OpReply> {
  // A port whose server takes no connections lets one wait for minutes.
  const late = AbortSignal.timeout(timeoutMs)
  for (let attempt = 0; ; attempt++) {
    signal.throwIfAborted()
    try {
      const connection = await guest.dial(port, { signal: AbortSignal.any([signal, late]) })
      connection.close()
      return {}
    } catch (error) {
      signal.throwIfAborted()
      if (!late.aborted && !(error instanceof MeshError && error.code === 'E_UNREACHABLE')) throw error
    }
    if (late.aborted)
      throw new MeshError('E_TIMEOUT', `Nothing in the sandbox listened on port ${port} within ${timeoutMs} ms`)
    await new Promise((resolve) => setTimeout(resolve, tryAfterMs(attempt)))
  }
}
