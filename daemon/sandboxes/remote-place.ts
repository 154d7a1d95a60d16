/** A peer as a place for ops: opens a carrier for each, passes the asker's data on, and believes nothing of what comes back that is not an answer. */
import { MeshError } from '../../protocol/errors.ts'
import { parseJsonText } from '../../protocol/json-text.ts'
import { jsonFrame, OP_FRAME, type OpFrame, readFailure } from '../../protocol/sandbox/op-frame.ts'
import { BULK_OPS, opReply, type OpReply, type SandboxOp } from '../../protocol/sandbox/op.ts'
import type { MeshNet } from '../net/mesh-net.ts'
import { LIMITS } from '../../protocol/limits.ts'
import { type Carrier, channelCarrier, streamCarrier } from './carrier.ts'
import { holdFirst } from './hold-first.ts'
import type { OpLink, OpPlace } from './op-link.ts'

export const SANDBOX_CHANNEL = 'sandbox'
export const SANDBOX_STREAM = '/manyhands/sandbox/1'

export class RemotePlace implements OpPlace {
  readonly #net: MeshNet
  readonly #peer: string

  constructor(net: MeshNet, peer: string) {
    this.#net = net
    this.#peer = peer
  }

  /** @throws MeshError E_UNREACHABLE, E_PROTOCOL, and what the peer refuses with */
  async run(op: SandboxOp, link: OpLink): Promise<OpReply> {
    link.signal.throwIfAborted()
    if (!this.#net.isConnected(this.#peer)) await this.#net.connect(this.#peer, undefined, link.signal)
    if (op.op === 'read') return this.#read(op, link)
    if (op.op === 'write') return this.#write(op, link)
    return this.#ask(op, link)
  }

  /** Most files are small: only one that is not costs a second question. */
  async #read(op: Extract<SandboxOp, { op: 'read' }>, link: OpLink): Promise<OpReply> {
    const { signal } = link
    const once: OpLink = {
      send: (lane, bytes) => link.send(lane, bytes),
      finish: () => link.finish(),
      receive: () => undefined,
      signal,
    }
    try {
      return await this.#ask({ ...op, op: 'read-small' }, once)
    } catch (error) {
      if (!(error instanceof MeshError) || error.code !== 'E_TOO_LARGE') throw error
      return this.#ask(op, link)
    }
  }

  async #write(op: Extract<SandboxOp, { op: 'write' }>, link: OpLink): Promise<OpReply> {
    const first = await holdFirst(link, LIMITS.sandboxSmallBytes)
    return this.#ask(first.whole ? { ...op, op: 'write-small' } : op, first.link)
  }

  async #ask(op: SandboxOp, link: OpLink): Promise<OpReply> {
    return ask(await this.#open(op, link.signal), link)
  }

  async #open(op: SandboxOp, signal: AbortSignal): Promise<Carrier> {
    if (!BULK_OPS.has(op.op))
      return channelCarrier(this.#net.openChannel(this.#peer, SANDBOX_CHANNEL, Buffer.from(JSON.stringify(op))))
    const carrier = streamCarrier(await this.#net.openStream(this.#peer, SANDBOX_STREAM, signal))
    await carrier.send(jsonFrame(OP_FRAME.open, op))
    return carrier
  }
}

function ask(carrier: Carrier, link: OpLink): Promise<OpReply> {
  const answer = Promise.withResolvers<OpReply>()
  const cancel = (): void => {
    answer.reject(link.signal.reason)
    carrier.abort(new MeshError('E_CANCELED', 'The operation was canceled'))
  }
  link.signal.addEventListener('abort', cancel, { once: true })
  if (link.signal.aborted) cancel()
  carrier.onFrame(async (frame) => {
    try {
      await onFrame(frame, link, answer)
    } catch (error) {
      answer.reject(error)
      carrier.abort(new MeshError('E_PROTOCOL', 'The frames of the operation make no sense'))
    }
  })
  link.receive({
    data: (bytes) => carrier.sendData(0, bytes),
    finish: () => void carrier.send(new Uint8Array([OP_FRAME.finish])).catch(() => undefined),
    control: (control) => void carrier.sendAhead(jsonFrame(OP_FRAME.control, control)).catch(() => undefined),
  })
  void carrier.ended.then((error) =>
    answer.reject(
      error ??
        new MeshError('E_UNREACHABLE', 'The node of the sandbox ended the operation without an answer', {
          hint: 'Look at the sandbox before you do it again: manyhands sandbox show <sandbox>',
        }),
    ),
  )
  const settle = (): void => {
    link.signal.removeEventListener('abort', cancel)
    carrier.close()
  }
  answer.promise.then(settle, settle)
  return answer.promise
}

async function onFrame(frame: OpFrame, link: OpLink, answer: PromiseWithResolvers<OpReply>): Promise<void> {
  const { type, lane, bytes } = frame
  switch (type) {
    case OP_FRAME.data: {
      if (lane !== 1 && lane !== 2)
        throw new MeshError('E_PROTOCOL', 'Cannot read an operation: data on an unknown lane')
      return link.send(lane, bytes)
    }
    case OP_FRAME.finish:
      return link.finish()
    case OP_FRAME.done: {
      const reply = opReply.safeParse(parseJsonText(bytes, 'the answer of a peer'))
      if (!reply.success) throw new MeshError('E_PROTOCOL', 'Cannot read the answer of a peer: it is not one')
      return answer.resolve(reply.data)
    }
    case OP_FRAME.fail:
      return answer.reject(readFailure(bytes))
    default:
      throw new MeshError('E_PROTOCOL', `Cannot read an operation: a frame of type ${type} came`)
  }
}
