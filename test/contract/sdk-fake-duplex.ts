/** The daemon's side of the duplex, for the fake. Speaks by the daemon's own frame code. */
import type { Socket } from 'node:net'
import { DUPLEX, type RunOpen, type SessionOpen } from '../../protocol/api.ts'
import { ERRORS } from '../../protocol/errors.ts'
import { FrameBatch, FrameReader, payloadId } from '../../protocol/duplex-frame.ts'
import type { FakeTask, FakeTasks, Guest } from './sdk-fake-tasks.ts'
import { failureOf, load } from './sdk-fake-tasks.ts'

const { type } = DUPLEX

interface Channel {
  readonly task: FakeTask
  readonly needsClient: boolean
  readonly hostCalls: Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>
  guest?: Guest
  open: number
  finishing: boolean
}

export function serveDuplex(socket: Socket, head: Buffer, tasks: FakeTasks): void {
  const channels = new Map<number, Channel>()
  const batch = new FrameBatch()
  let due = false
  let nextHostCall = 1

  const flush = (): void => {
    due = false
    for (const bytes of batch.take()) if (!socket.destroyed) socket.write(bytes)
  }
  const later = (): void => {
    if (!due) process.nextTick(flush)
    due = true
  }
  const send = (channel: number, frame: number, text: string): void => {
    batch.text(channel, frame, text)
    later()
  }
  const sendWithId = (channel: number, frame: number, id: number, text: string): void => {
    batch.idText(channel, frame, id, text)
    later()
  }

  const envOf = (number: number, channel: Channel, names: readonly string[]) =>
    Object.fromEntries(
      names.map((name) => [
        name,
        (...args: unknown[]) =>
          new Promise<unknown>((resolve, reject) => {
            const id = nextHostCall++
            channel.hostCalls.set(id, { resolve, reject })
            sendWithId(number, type.hostCall, id, JSON.stringify({ name, args }))
          }),
      ]),
    )

  const add = (number: number, task: FakeTask, needsClient = true): Channel => {
    const channel: Channel = {
      task,
      needsClient,
      hostCalls: new Map(),
      open: 0,
      finishing: false,
    }
    channels.set(number, channel)
    let sent = 0
    const onEvent = (): void => {
      for (; sent < channel.task.events.length; sent++) {
        const event = channel.task.events[sent]
        if (event?.type === 'log') send(number, type.log, JSON.stringify(event))
        if (event?.type === 'end') send(number, type.end, JSON.stringify(event.task))
      }
    }
    channel.task.changed.on('event', onEvent)
    queueMicrotask(onEvent)
    return channel
  }

  const openRun = (number: number, open: RunOpen): void => {
    const { key, hostFunctions, ...request } = open
    if (hostFunctions.length === 0) {
      const task = tasks.submit(key, request)
      if (task) return void add(number, task, false)
      const refused = { ...ERRORS.E_KEY_REUSED, type: 'about:blank', detail: 'used before', code: 'E_KEY_REUSED' }
      return send(number, type.problem, JSON.stringify(refused))
    }
    const channel = add(number, tasks.add('run', open.program, open.name))
    send(number, type.opened, JSON.stringify({ task: channel.task.view.id, lease: channel.task.view.lease }))
    void tasks.run(channel.task, open.program, open.input, envOf(number, channel, open.hostFunctions))
  }

  const openSession = async (number: number, open: SessionOpen): Promise<void> => {
    const channel = add(number, tasks.add('session', open.program, open.name))
    tasks.started++
    try {
      const guest = await load(open.program, (text) =>
        tasks.emit(channel.task, { type: 'log', level: 'log', text, node: 'node-a' }),
      )
      const env = envOf(number, channel, open.hostFunctions ?? [])
      channel.guest = (input) => guest(input, env)
      send(number, type.opened, JSON.stringify({ task: channel.task.view.id }))
    } catch (error) {
      const failure = failureOf(error)
      const problem = {
        type: 'about:blank',
        title: 'x',
        status: 422,
        detail: failure.message,
        code: failure.code,
        failure,
      }
      send(number, type.problem, JSON.stringify(problem))
      channels.delete(number)
    }
  }

  const call = async (number: number, channel: Channel, id: number, text: string): Promise<void> => {
    channel.open++
    try {
      const output = await channel.guest?.(JSON.parse(text) as unknown, {})
      sendWithId(number, type.reply, id, JSON.stringify(output ?? null))
    } catch (error) {
      sendWithId(number, type.callFailed, id, JSON.stringify(failureOf(error)))
    }
    channel.open--
    if (channel.finishing && channel.open === 0) tasks.end(channel.task, { state: 'completed' })
  }

  const reader = new FrameReader((number, frame, bytes, start, end) => {
    if (number === 0) {
      if (frame === type.ping) send(0, type.pong, '')
      return
    }
    const withId = frame === type.call || frame === type.hostResult || frame === type.hostFailed
    const text = bytes.toString('utf8', withId ? start + 4 : start, end)
    const id = withId ? payloadId(bytes, start, end) : 0
    if (frame === type.run) return openRun(number, JSON.parse(text) as RunOpen)
    if (frame === type.session) return void openSession(number, JSON.parse(text) as SessionOpen)
    const channel = channels.get(number)
    if (!channel) return
    if (frame === type.call) void call(number, channel, id, text)
    if (frame === type.cancel) tasks.end(channel.task, { state: 'canceled' })
    if (frame === type.finish) {
      channel.finishing = true
      if (channel.open === 0) tasks.end(channel.task, { state: 'completed' })
    }
    const waiting = channel.hostCalls.get(id)
    channel.hostCalls.delete(id)
    if (frame === type.hostResult) waiting?.resolve(JSON.parse(text))
    if (frame === type.hostFailed) {
      const { code, message } = JSON.parse(text) as { code: string; message: string }
      waiting?.reject(Object.assign(new Error(`${code}: ${message}`), { code }))
    }
  })

  socket.on('data', (bytes: Buffer) => reader.push(bytes))
  socket.on('error', () => undefined)
  socket.on('close', () => {
    for (const { task, needsClient } of channels.values()) {
      if (!needsClient) continue
      tasks.end(task, { state: 'failed', error: { code: 'E_CALLER_GONE', message: 'The client went away' } })
    }
  })
  if (head.length > 0) reader.push(head)
}
