/** One raw connection to the daemon carrying many channels: runs with host functions, sessions, and streams of sandboxes. */
import { isUtf8 } from 'node:buffer'
import type { Socket } from 'node:net'
import type { BoxOpen, RunOpen, SessionOpen } from '../../../protocol/api.ts'
import { refusal } from '../client.ts'
import { type Channel, type ChannelListener, DUPLEX, type Duplex, FRAME } from '../duplex.ts'
import { closedError, ManyhandsError, protocolError } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import { FrameReader } from './frame-reader.ts'
import { FrameWriter } from './frame-writer.ts'
import type { NodeTransport } from './http-transport.ts'
import { lostError } from './lane.ts'

/** Few and small, and what is there cannot end without them: they leave also when nothing else may */
const ALWAYS: ReadonlySet<number> = new Set([FRAME.cancel, FRAME.finish, FRAME.hostFailed])
const WITH_ID: ReadonlySet<number> = new Set([FRAME.reply, FRAME.callFailed, FRAME.hostCall])

export class DuplexConnection implements Duplex {
  readonly #socket: Socket
  readonly #writer: FrameWriter
  readonly #channels = new Map<number, ChannelListener>()
  readonly #silence: NodeJS.Timeout
  #nextChannel = 1
  #heard = performance.now()
  #asked = false
  #lost: ManyhandsError | undefined

  private constructor(socket: Socket, head: Buffer) {
    this.#socket = socket
    this.#writer = new FrameWriter((bytes) => socket.write(bytes))
    const reader = new FrameReader(
      (...frame) => this.#onFrame(...frame),
      (...data) => this.#onData(...data),
    )
    const onData = (bytes: Buffer): void => {
      this.#heard = performance.now()
      this.#asked = false
      try {
        reader.feed(bytes)
      } catch (error) {
        this.#fail(error instanceof ManyhandsError ? error : protocolError('Cannot read the duplex', error))
      }
    }
    socket.on('data', onData)
    socket.on('error', (error) => this.#fail(lostError(error)))
    socket.on('close', () => this.#fail(lostError(undefined)))
    socket.on('end', () => this.#fail(lostError(undefined)))
    this.#silence = setInterval(() => this.#checkSilence(), LIMITS.duplexSilenceMs / 2).unref()
    socket.unref()
    if (head.length > 0) onData(head)
  }

  /** @throws ManyhandsError as Transport, and the daemon's refusal */
  static async connect(transport: NodeTransport, signal: AbortSignal): Promise<DuplexConnection> {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(LIMITS.connectMs)])
    const result = await transport.upgrade('/v0/duplex', DUPLEX.protocol, limit)
    if (!('socket' in result)) throw await refusal(result)
    return new DuplexConnection(result.socket, result.head)
  }

  get lost(): boolean {
    return this.#lost !== undefined
  }

  open(type: number, body: RunOpen | SessionOpen | BoxOpen, listener: ChannelListener, json?: string): Channel {
    const channel = this.#nextChannel++
    this.#send(channel, type, -1, json ?? JSON.stringify(body))
    this.#channels.set(channel, listener)
    if (this.#channels.size === 1) this.#socket.ref()
    return {
      send: (frameType, text) => this.#send(channel, frameType, -1, text),
      sendWithId: (frameType, id, text) => this.#send(channel, frameType, id, text),
      sendData: (lane, bytes) => {
        this.#admit(bytes.length)
        this.#writer.data(channel, FRAME.data, lane, bytes)
      },
      sendCredit: (bytes) => {
        if (this.#lost) throw this.#lost
        this.#writer.frame(channel, FRAME.credit, bytes, '')
      },
      release: () => {
        this.#channels.delete(channel)
        // Without a channel the connection does not keep the process alive
        if (this.#channels.size === 0) this.#socket.unref()
      },
    }
  }

  close(): void {
    this.#writer.flush()
    this.#fail(closedError())
  }

  #send(channel: number, type: number, id: number, text: string): void {
    if (!ALWAYS.has(type)) this.#admit(text.length)
    else if (this.#lost) throw this.#lost
    this.#writer.frame(channel, type, id, text)
  }

  #admit(size: number): void {
    if (this.#lost) throw this.#lost
    if (this.#socket.writableLength + this.#writer.pending + size > LIMITS.duplexQueueBytes) {
      throw new ManyhandsError('E_OVERLOADED', 'Cannot send: the daemon does not take what was sent before', {
        hint: 'Await earlier calls before making more',
        retryAfterMs: 100,
      })
    }
  }

  #onFrame(channel: number, type: number, bytes: Buffer, start: number, end: number): void {
    if (this.#lost) return
    if (channel === 0) {
      if (type === FRAME.ping) this.#writer.frame(0, FRAME.pong, -1, '')
      return
    }
    // A channel released here may still have frames on their way
    const listener = this.#channels.get(channel)
    if (!listener) return
    if (type === FRAME.credit) {
      if (!listener.onCredit || end - start !== 4) throw protocolError('Cannot read the duplex: a credit is none')
      return listener.onCredit(bytes.readUInt32LE(start))
    }
    const withId = WITH_ID.has(type)
    if (withId && end - start < 4) throw protocolError('Cannot read the duplex: a frame lacks its id')
    const from = withId ? start + 4 : start
    if (!isUtf8(bytes.subarray(from, end))) throw protocolError('Cannot read the duplex: a payload is not UTF-8')
    listener.onFrame(type, withId ? bytes.readUInt32LE(start) : 0, bytes.toString('utf8', from, end))
  }

  #onData(channel: number, lane: number, bytes: Uint8Array): void {
    const listener = this.#channels.get(channel)
    if (this.#lost || !listener) return
    if (!listener.onData) throw protocolError('Cannot read the duplex: data came on a channel that takes none')
    listener.onData(lane, bytes)
  }

  #checkSilence(): void {
    const silentMs = performance.now() - this.#heard
    if (this.#channels.size === 0 || silentMs < LIMITS.duplexSilenceMs) return
    // Only silence after a question counts: this process may itself have stood still
    if (this.#asked && silentMs > 2 * LIMITS.duplexSilenceMs) return this.#fail(lostError(undefined))
    this.#asked = true
    this.#writer.frame(0, FRAME.ping, -1, '')
  }

  /** First cause wins; every channel learns of it once. */
  #fail(error: ManyhandsError): void {
    if (this.#lost) return
    this.#lost = error
    clearInterval(this.#silence)
    // What was flushed still leaves: `end` sends before it closes, and the timer ends a daemon that does not close
    if (error.code === 'E_CONFLICT') this.#socket.end()
    else this.#socket.destroy()
    setTimeout(() => this.#socket.destroy(), 1000).unref()
    const listeners = [...this.#channels.values()]
    this.#channels.clear()
    for (const listener of listeners) listener.onLost(error)
  }
}
