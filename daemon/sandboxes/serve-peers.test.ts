/** How many ops one peer may have running here, over the network in memory. */
import { afterEach, describe, expect, it } from 'vitest'
import { BOX, type BoxControl } from '../../protocol/api-sandboxes.ts'
import { LIMITS } from '../../protocol/limits.ts'
import type { SandboxOp } from '../../protocol/sandbox/op.ts'
import { MemoryNets } from '../../test/support/mesh-nets.ts'
import { type OpLink, type OpPlace, type OpSink, quietLink, runOwn } from './op-link.ts'
import { RemotePlace } from './remote-place.ts'
import { PeerOps } from './serve-peers.ts'

const nets = new MemoryNets()
afterEach(() => nets.closeAll())

/** A place whose ops run until they are canceled, as a peer reaches it. */
async function endless() {
  const [asker, holder] = [await nets.make(), await nets.make()]
  let running = 0
  const place: OpPlace = {
    run: (_op, { signal }) => {
      running++
      return new Promise((_resolve, reject) =>
        signal.addEventListener('abort', () => {
          running--
          reject(signal.reason)
        }),
      )
    },
  }
  const ops = new PeerOps({ net: holder, placeFor: () => place })
  await asker.connect(holder.self, holder.addresses())
  const remote = new RemotePlace(asker, holder.self)
  const gone = new AbortController()
  const ask = (op: SandboxOp): Promise<unknown> => remote.run(op, quietLink(gone.signal))
  const begun: Promise<unknown>[] = []
  /** Asks for so many more, and says what became of them once so many run. */
  const begin = async (op: SandboxOp, times: number, wanted: number): Promise<number> => {
    for (let n = 0; n < times; n++) begun.push(ask(op))
    await expect.poll(() => running).toBe(wanted)
    return running
  }
  const end = async (): Promise<void> => {
    gone.abort(new Error('enough'))
    ops.close()
    await Promise.allSettled(begun)
    await expect.poll(() => running).toBe(0)
  }
  const quiet = (): Promise<void> => expect.poll(() => running).toBe(0)
  return { remote, ask, begin, end, quiet }
}

it('a command on a peer that does not read its input still hears signals, and in the end all of its input', async () => {
  const [asker, holder] = [await nets.make(), await nets.make()]
  const reads = Promise.withResolvers<void>()
  const heard = Promise.withResolvers<BoxControl>()
  let bytes = 0
  const place: OpPlace = {
    run: (_op, link) =>
      new Promise((resolve) =>
        link.receive({
          data: async (piece) => {
            await reads.promise
            bytes += piece.length
          },
          finish: () => void reads.promise.then(() => resolve({})),
          control: heard.resolve,
        }),
      ),
  }
  new PeerOps({ net: holder, placeFor: () => place })
  await asker.connect(holder.self, holder.addresses())
  const sink = Promise.withResolvers<OpSink>()
  const link: OpLink = { ...quietLink(new AbortController().signal), receive: sink.resolve }
  const done = new RemotePlace(asker, holder.self).run(
    { op: 'exec', sandbox: 'box', argv: ['sleep'], stdin: true },
    link,
  )
  const to = await sink.promise
  // As a client may: a window at once, and more as there is room
  const sent = Array.from({ length: 40 }, () => to.data(new Uint8Array(BOX.pieceBytes)))
  await sent[0]
  to.control({ signal: 'SIGINT' })
  expect(await heard.promise).toEqual({ signal: 'SIGINT' })
  to.finish()
  reads.resolve()
  await Promise.all([...sent, done])
  expect(bytes).toBe(40 * BOX.pieceBytes)
})

const SMALL: SandboxOp = { op: 'logs', sandbox: 'box', process: 1, follow: true }
const STREAM: SandboxOp = { op: 'port', sandbox: 'box', port: 80 }

describe('ops of one peer', () => {
  it('leave room for as many streams as are promised, however many others run', async () => {
    const { ask, begin, end } = await endless()
    const { sandboxOpsPerPeer: all, sandboxStreamsPerPeer: streams } = LIMITS
    await begin(SMALL, all - streams, all - streams)
    await begin(STREAM, streams, all)
    for (const op of [SMALL, STREAM]) await expect(ask(op)).rejects.toMatchObject({ code: 'E_OVERLOADED' })
    await end()
  })

  it('are refused beyond the number of streams, and others are not', async () => {
    const { ask, begin, end } = await endless()
    const { sandboxStreamsPerPeer: streams } = LIMITS
    await begin(STREAM, streams, streams)
    await expect(ask(STREAM)).rejects.toMatchObject({ code: 'E_OVERLOADED' })
    await begin(SMALL, 1, streams + 1)
    await end()
  })

  it('that the asking daemon wants by itself end without an answer, and nothing is left of them on either side', async () => {
    const { remote, quiet, end } = await endless()
    for (const op of [SMALL, STREAM]) await expect(runOwn(remote, op, 20)).rejects.toMatchObject({ code: 'E_TIMEOUT' })
    await quiet()
    await end()
  })
})
