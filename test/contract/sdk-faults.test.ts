/** The SDK when a daemon comes and goes, when callers turn away early, and when what they hand in fails or stands still. Time is faked. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { TaskEvent, TaskView } from '../../protocol/api.ts'
import { Client } from '../../sdk/src/client.ts'
import { type ChannelListener, type Duplex, FRAME } from '../../sdk/src/duplex.ts'
import { ManyhandsError } from '../../sdk/src/errors.ts'
import { MapRun } from '../../sdk/src/map.ts'
import { Tasks } from '../../sdk/src/tasks.ts'
import type { Transport, WireAnswer, WireRequest } from '../../sdk/src/transport.ts'

const noFile = () => Promise.reject(new Error('No files here'))
const noDuplex = () => Promise.reject(new Error('No duplex here'))
const lost = () => new ManyhandsError('E_UNREACHABLE', 'lost')
const down = () => new ManyhandsError('E_NOT_RUNNING', 'down')
const overloaded = () => new ManyhandsError('E_OVERLOADED', 'no stream left')
const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

const task = (state: TaskView['state'], kind: TaskView['kind'] = 'run'): TaskView => ({
  id: 't1',
  kind,
  state,
  program: '00',
  createdAt: '2026-01-01T00:00:00Z',
  attempts: 1,
})

const answer = (type: string, body: AsyncIterable<Uint8Array>): WireAnswer => ({
  status: 200,
  header: (name) => (name === 'content-type' ? type : undefined),
  body,
  leave: () => undefined,
})

function json(value: unknown): WireAnswer {
  async function* body() {
    yield Buffer.from(JSON.stringify(value))
  }
  return answer('application/json', body())
}

const events = (body: AsyncIterable<Uint8Array>): WireAnswer => answer('text/event-stream', body)
const event = (value: TaskEvent): Uint8Array => Buffer.from(`event: ${value.type}\ndata: ${JSON.stringify(value)}\n\n`)

async function* ended() {
  yield event({ type: 'end', task: task('completed') })
}

/** Says nothing but that it is there until its signal aborts. */
async function* silent(signal: AbortSignal): AsyncGenerator<Uint8Array> {
  yield Buffer.from(':\n\n')
  await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }))
}

/** A daemon as a function of what it is asked: "METHOD path". What `ask` throws is how the transport fails. */
function daemon(ask: (what: string, request: WireRequest) => WireAnswer | Promise<WireAnswer>) {
  const seen: string[] = []
  const transport: Transport = {
    async request(request) {
      const what = `${request.method} ${request.path.replace(/\?.*/, '')}`
      seen.push(what)
      request.signal.throwIfAborted()
      const aborted = new Promise<never>((_, reject) =>
        request.signal.addEventListener('abort', () => reject(request.signal.reason), { once: true }),
      )
      aborted.catch(() => undefined)
      return Promise.race([ask(what, request), aborted])
    },
    async close() {},
  }
  const client = new Client(transport)
  return { client, tasks: new Tasks(client, noDuplex, noFile), seen }
}

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

describe('waiting for a task', () => {
  it('outlasts a restart long after another loss, though the task had nothing to tell between', async () => {
    let streams = 0
    const { tasks } = daemon(() => {
      streams++
      if (streams === 3 || streams === 4) throw down()
      return events(streams > 4 ? ended() : quiet())
    })
    async function* quiet() {
      for (let beats = 0; beats < 100; beats++) {
        yield Buffer.from(':\n\n')
        await sleep(15_000)
      }
      throw lost()
    }
    const waiting = tasks.wait('t1')
    waiting.catch(() => undefined)
    await vi.advanceTimersByTimeAsync(2 * 100 * 15_000 + 10_000)
    expect((await waiting).state).toBe('completed')
    expect(streams).toBe(5)
  })

  it('waits for a daemon that was there a moment ago, before its first event too', async () => {
    let asked = 0
    const { client, tasks } = daemon((what) => {
      if (what === 'GET /v0/peers') return json({ peers: [] })
      if (asked++ < 3) throw down()
      return events(ended())
    })
    await expect(tasks.wait('t1')).rejects.toMatchObject({ code: 'E_NOT_RUNNING' })
    await client.call('GET /v0/peers')
    const waiting = tasks.wait('t1')
    waiting.catch(() => undefined)
    await vi.advanceTimersByTimeAsync(5000)
    expect((await waiting).state).toBe('completed')
  })

  it('goes on without a stream when all are taken, for as long as it takes', async () => {
    let asked = 0
    const { tasks } = daemon((what) => {
      if (what !== 'GET /v0/tasks/t1') throw overloaded()
      return json(task(asked++ < 20 ? 'working' : 'completed'))
    })
    const waiting = tasks.wait('t1')
    waiting.catch(() => undefined)
    await vi.advanceTimersByTimeAsync(120_000)
    expect((await waiting).state).toBe('completed')
  })

  it('ends at once with the mesh, also between two attempts and with a signal of its own', async () => {
    const { client, tasks } = daemon(() => {
      throw lost()
    })
    const waiting = tasks.wait('t1', { signal: new AbortController().signal })
    waiting.catch(() => undefined)
    await vi.advanceTimersByTimeAsync(10_000)
    await client.close()
    await expect(waiting).rejects.toMatchObject({ code: 'E_CONFLICT' })
  })
})

describe('a caller who turns away while a task is being handed in', () => {
  it.each(['run', 'start'] as const)('%s(): has it canceled', async (method) => {
    const { tasks, seen } = daemon(async (what) => {
      if (what === 'POST /v0/tasks') await sleep(200)
      return json(task(what === 'POST /v0/tasks' ? 'submitted' : 'canceled'))
    })
    const stop = new AbortController()
    const running = tasks[method]('export default 1', { signal: stop.signal })
    running.catch(() => undefined)
    await vi.advanceTimersByTimeAsync(100)
    stop.abort(new Error('enough'))
    await vi.advanceTimersByTimeAsync(200)
    await expect(running).rejects.toThrow('enough')
    expect(seen).toEqual(['POST /v0/tasks', 'POST /v0/tasks/t1/cancel'])
  })

  it('map(): has it canceled', async () => {
    const { client, tasks, seen } = daemon(async (what) => {
      if (what === 'POST /v0/maps') await sleep(200)
      return json(task(what === 'POST /v0/maps' ? 'submitted' : 'canceled', 'map'))
    })
    const map = new MapRun(client, tasks, { source: '' }, [1], {})
    await vi.advanceTimersByTimeAsync(100)
    map.cancel()
    await vi.advanceTimersByTimeAsync(200)
    await expect(map.all()).rejects.toMatchObject({ code: 'E_CANCELED' })
    await expect(map.tasks()).rejects.toMatchObject({ code: 'E_CANCELED' })
    expect(seen).toEqual(['POST /v0/maps', 'POST /v0/tasks/t1/cancel'])
  })

  it('hears of it soon, though the daemon does not answer', async () => {
    const { tasks } = daemon(() => sleep(600_000).then(() => json({})))
    const stop = new AbortController()
    const running = tasks.run('export default 1', { signal: stop.signal })
    running.catch(() => undefined)
    await vi.advanceTimersByTimeAsync(100)
    stop.abort(new Error('enough'))
    await vi.advanceTimersByTimeAsync(2000)
    await expect(running).rejects.toThrow('enough')
  })
})

describe('a map that ends before its inputs do', () => {
  /** Each request of the map is a task of its own; the first ends as told after a second, unless it is to work on. */
  const parts = (first: TaskView['state']) => {
    let count = 0
    const made: Record<string, unknown>[] = []
    const { client, tasks, seen } = daemon(async (what, { signal, body }) => {
      const id = what.split('/')[3] ?? ''
      if (what === 'POST /v0/maps') {
        made.push(JSON.parse(body ?? '') as Record<string, unknown>)
        return json({ ...task('working', 'map'), id: `t${++count}` })
      }
      if (what === 'GET /v0/tasks/t1/events' && first !== 'working') return events(ends())
      if (what.endsWith('/events')) return events(silent(signal))
      if (what.endsWith('/results')) return json({ from: 0, items: [], complete: false })
      if (what.endsWith('/cancel')) await sleep(300)
      return json({ ...task('canceled', 'map'), id })
    })
    async function* ends() {
      await sleep(1000)
      yield event({ type: 'end', task: task(first, 'map') })
    }
    return { client, tasks, seen, made }
  }
  /** One input each 100 ms, until the map wants no more. */
  async function* dripping(told: { ended: boolean }) {
    try {
      for (let n = 0; ; n++) {
        await sleep(100)
        yield n
      }
    } finally {
      told.ended = true
    }
  }

  it('reads and runs no more once a part of it was canceled elsewhere', async () => {
    const { client, tasks, seen } = parts('canceled')
    const told = { ended: false }
    const all = new MapRun(client, tasks, { source: '' }, dripping(told), {}).all()
    all.catch(() => undefined)
    await vi.advanceTimersByTimeAsync(5000)
    await expect(all).rejects.toMatchObject({ code: 'E_CANCELED' })
    expect(told.ended).toBe(true)
    expect(seen).toContain('POST /v0/tasks/t2/cancel')
    expect(seen).not.toContain('POST /v0/tasks/t1/cancel')
  })

  it('has one deadline, also for inputs that come later', async () => {
    const { client, tasks, made, seen } = parts('working')
    const told = { ended: false }
    const all = new MapRun(client, tasks, { source: '' }, dripping(told), { deadlineMs: 700 }).all()
    all.catch(() => undefined)
    await vi.advanceTimersByTimeAsync(5000)
    await expect(all).rejects.toMatchObject({ code: 'E_DEADLINE' })
    expect(told.ended).toBe(true)
    expect(seen).toContain('POST /v0/tasks/t1/cancel')
    const given = made.map(({ deadlineMs }) => Number(deadlineMs))
    expect(given.length).toBeGreaterThan(1)
    expect(given).toEqual(given.toSorted((a, b) => b - a))
    expect(given.at(-1)).toBeLessThan(600)
  })

  it('has one deadline with a key, though its requests must be the same each time', async () => {
    const { client, tasks, made } = parts('working')
    const inputs = (function* () {
      for (let n = 0; n < 250_000; n++) yield n
    })()
    const all = new MapRun(client, tasks, { source: '' }, inputs, { deadlineMs: 700, key: 'k' }).all()
    all.catch(() => undefined)
    await vi.advanceTimersByTimeAsync(5000)
    await expect(all).rejects.toMatchObject({ code: 'E_DEADLINE' })
    expect(made.map(({ deadlineMs }) => deadlineMs)).toEqual([700, 700, 700])
  })

  it('is told to be over only when its tasks are canceled, so that its caller may close the mesh', async () => {
    const { client, tasks, seen } = parts('working')
    const stop = new AbortController()
    const all = new MapRun(client, tasks, { source: '' }, [1], { signal: stop.signal }).all()
    let over = false
    all.catch(() => (over = true))
    await vi.advanceTimersByTimeAsync(100)
    stop.abort(new Error('enough'))
    await vi.advanceTimersByTimeAsync(200)
    expect([over, seen.at(-1)]).toEqual([false, 'POST /v0/tasks/t1/cancel'])
    await vi.advanceTimersByTimeAsync(200)
    await expect(all).rejects.toThrow('enough')
  })
})

describe('a map whose caller fails', () => {
  const endless = () =>
    daemon((what, { signal }) => {
      if (what.endsWith('/events')) return events(silent(signal))
      if (what.endsWith('/results')) return json({ from: 0, items: [], complete: false })
      return json(task(what.endsWith('/cancel') ? 'canceled' : 'working', 'map'))
    })
  /** Fills a first request of the map, and then goes on as told. */
  async function* full(rest: () => Promise<void>) {
    for (let i = 0; i <= 100_000; i++) yield i
    await rest()
  }

  it('cancels what it began when its inputs throw', async () => {
    const { client, tasks, seen } = endless()
    const inputs = full(async () => {
      await sleep(100)
      throw new Error('no more paper')
    })
    const map = new MapRun(client, tasks, { source: '' }, inputs, {})
    await vi.advanceTimersByTimeAsync(1000)
    await expect(map.all()).rejects.toThrow('no more paper')
    expect(new Set((await map.tasks()).map(({ state }) => state))).toEqual(new Set(['canceled']))
    expect(seen).toContain('POST /v0/tasks/t1/cancel')
  })

  it('cancels what it began when a callback throws, while inputs are still read', async () => {
    const { client, tasks, seen } = endless()
    const inputs = full(() => sleep(60_000))
    const onProgress = (): void => {
      throw new Error('no screen')
    }
    const map = new MapRun(client, tasks, { source: '' }, inputs, { onProgress })
    await vi.advanceTimersByTimeAsync(1000)
    await expect(map.all()).rejects.toThrow('no screen')
    expect(seen).toContain('POST /v0/tasks/t1/cancel')
  })

  it('fails when it can not be followed any more, while inputs are still read', async () => {
    let streams = 0
    const { client, tasks } = daemon((what) => {
      if (what.endsWith('/events')) {
        if (streams++ === 0) throw new ManyhandsError('E_FORBIDDEN', 'not any more')
        return events(ended())
      }
      if (what.endsWith('/results')) return json({ from: 0, items: [], complete: false })
      return json(task('working', 'map'))
    })
    const map = new MapRun(
      client,
      tasks,
      { source: '' },
      full(() => sleep(1000)),
      {},
    )
    const all = map.all()
    all.catch(() => undefined)
    await vi.advanceTimersByTimeAsync(10_000)
    await expect(all).rejects.toMatchObject({ code: 'E_FORBIDDEN' })
  })

  it('ends when it is canceled, though its inputs stand still', async () => {
    const { client, tasks } = endless()
    async function* inputs(...first: number[]) {
      yield* first
      await new Promise(() => undefined)
    }
    const map = new MapRun(client, tasks, { source: '' }, inputs(1), {})
    const items = map[Symbol.asyncIterator]()
    await vi.advanceTimersByTimeAsync(200)
    map.cancel()
    // what had come was sent when the source paused
    expect(await map.tasks()).toMatchObject([{ kind: 'map', state: 'canceled' }])
    await expect(items.next()).rejects.toMatchObject({ code: 'E_CANCELED' })

    const empty = new MapRun(client, tasks, { source: '' }, inputs(), {})
    await vi.advanceTimersByTimeAsync(200)
    empty.cancel()
    await expect(empty.tasks()).rejects.toMatchObject({ code: 'E_CANCELED' })
  })
})

it('waits for a daemon that restarts under a run with host functions, however long it had run before', async () => {
  const { client } = daemon(() => json({}))
  let connections = 0
  const duplex: Duplex = {
    open: (_type: number, _body: unknown, listener: ChannelListener) => {
      if (++connections === 1) setTimeout(() => listener.onLost(lost()), 60_000)
      else setTimeout(() => listener.onFrame(FRAME.end, 0, JSON.stringify(task('completed'))), 10)
      const nothing = () => undefined
      return { send: nothing, sendWithId: nothing, sendData: nothing, sendCredit: nothing, release: nothing }
    },
  }
  const tasks = new Tasks(client, async () => duplex, noFile)
  const running = tasks.run('export default 1', { host: {} })
  running.catch(() => undefined)
  await vi.advanceTimersByTimeAsync(70_000)
  expect((await running).state).toBe('completed')
  expect(connections).toBe(2)
})
