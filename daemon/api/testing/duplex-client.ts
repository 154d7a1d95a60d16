/** A duplex client for tests: frames out, frames in, nothing clever. */
import type { Socket } from 'node:net'
import { FrameBatch, FrameReader, payloadId } from '../../../protocol/duplex-frame.ts'
import { DUPLEX } from '../../../protocol/api.ts'
import { dial, type TestApi } from './test-api.ts'

export interface SeenFrame {
  readonly channel: number
  readonly type: number
  readonly id: number
  readonly text: string
}

const WITH_ID: ReadonlySet<number> = new Set([4, 5, 6, 7, 8, 9])

export interface DuplexClient {
  readonly socket: Socket
  readonly frames: SeenFrame[]
  send(channel: number, type: number, body: unknown): void
  sendId(channel: number, type: number, id: number, text: string): void
  /** The first frame of that type on that channel, come or coming; undefined when the connection ends without one */
  frame(channel: number, type: number): Promise<SeenFrame | undefined>
  closed: Promise<void>
}

export const UPGRADE = (token: string, host = 'localhost'): string =>
  `GET /v0/duplex HTTP/1.1\r\nhost: ${host}\r\nauthorization: Bearer ${token}\r\nconnection: Upgrade\r\nupgrade: ${DUPLEX.protocol}\r\n\r\n`

export async function openDuplex(api: TestApi, token = api.token): Promise<DuplexClient> {
  const socket = await dial(api)
  const frames: SeenFrame[] = []
  const looking = new Set<() => void>()
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  const reader = new FrameReader((channel, type, bytes, start, end) => {
    const withId = WITH_ID.has(type)
    frames.push({
      channel,
      type,
      id: withId ? payloadId(bytes, start, end) : 0,
      text: bytes.toString('utf8', withId ? start + 4 : start, end),
    })
    for (const look of [...looking]) look()
  })
  await new Promise<void>((resolve, reject) => {
    let head = Buffer.alloc(0)
    const onData = (part: Buffer): void => {
      head = Buffer.concat([head, part])
      const end = head.indexOf('\r\n\r\n')
      if (end < 0) return
      socket.off('data', onData)
      if (!head.toString().startsWith('HTTP/1.1 101')) return reject(new Error(head.toString()))
      socket.on('data', (bytes: Buffer) => reader.push(bytes))
      if (head.length > end + 4) reader.push(head.subarray(end + 4))
      resolve()
    }
    socket.on('data', onData)
    socket.write(UPGRADE(token))
  })
  const write = (fill: (batch: FrameBatch) => void): void => {
    const batch = new FrameBatch()
    fill(batch)
    for (const part of batch.take()) socket.write(part)
  }
  return {
    socket,
    frames,
    closed,
    send: (channel, type, body) =>
      write((batch) => batch.text(channel, type, typeof body === 'string' ? body : JSON.stringify(body))),
    sendId: (channel, type, id, text) => write((batch) => batch.idText(channel, type, id, text)),
    frame: (channel, type) =>
      new Promise((resolve) => {
        const look = (): void => {
          const found = frames.find((frame) => frame.channel === channel && frame.type === type)
          if (!found && !socket.closed) return
          looking.delete(look)
          resolve(found)
        }
        looking.add(look)
        void closed.then(look)
        look()
      }),
  }
}
