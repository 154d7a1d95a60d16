/** How many ops one peer may have running here, over the network in memory. */
import { afterEach, describe, expect, it } from 'vitest'
import { LIMITS } from '../../protocol/limits.ts'
import type { SandboxOp } from '../../protocol/sandbox/op.ts'
import { MemoryNets } from '../../test/support/mesh-nets.ts'
import { type OpPlace, quietLink, runOwn } from './op-link.ts'
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
