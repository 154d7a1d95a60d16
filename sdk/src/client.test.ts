import { describe, expect, it } from 'vitest'
import { Client, fillPath } from './client.ts'
import { ManyhandsError } from './errors.ts'
import type { Transport, WireAnswer, WireRequest } from './transport.ts'

describe('fillPath()', () => {
  it('escapes values, so that an id stays one', () => {
    expect(fillPath('/v0/tasks/:id/results', { id: 'a/b?c#d' }, { from: 1, limit: undefined })).toBe(
      '/v0/tasks/a%2Fb%3Fc%23d/results?from=1',
    )
    for (const id of ['', '.', '..', 'x'.repeat(600)])
      expect(() => fillPath('/v0/tasks/:id', { id })).toThrow(ManyhandsError)
  })
})

/** Answers by a list of steps: an answer, or an error to throw. */
function scripted(steps: readonly (WireAnswer | ManyhandsError)[]): { transport: Transport; requests: WireRequest[] } {
  const requests: WireRequest[] = []
  const transport: Transport = {
    async request(request) {
      const step = steps[Math.min(requests.length, steps.length - 1)]
      requests.push(request)
      if (step === undefined) throw new Error('The script is over')
      if (step instanceof ManyhandsError) throw step
      return step
    },
    async close() {},
  }
  return { transport, requests }
}

function json(value: unknown, status = 200, type = 'application/json'): WireAnswer {
  async function* body() {
    yield Buffer.from(JSON.stringify(value))
  }
  return {
    status,
    header: (name) => (name === 'content-type' ? type : undefined),
    body: body(),
    leave: () => undefined,
  }
}

const lost = new ManyhandsError('E_UNREACHABLE', 'lost')

describe('Client', () => {
  it('repeats what may be repeated', async () => {
    const { transport, requests } = scripted([lost, new ManyhandsError('E_NOT_RUNNING', 'down'), json({ peers: [] })])
    expect(await new Client(transport).call('GET /v0/peers')).toEqual({ peers: [] })
    expect(requests.length).toBe(3)
  })

  it('does not repeat what has no key, and uses a new connection for it', async () => {
    const { transport, requests } = scripted([lost])
    await expect(new Client(transport).call('POST /v0/invites', { body: {} })).rejects.toBe(lost)
    expect(requests).toMatchObject([{ fresh: true, method: 'POST' }])
  })

  it('says at once that no daemon runs, and repeats no refusal', async () => {
    for (const error of [new ManyhandsError('E_NOT_RUNNING', 'down'), new ManyhandsError('E_UNPROVEN', 'who?')]) {
      const { transport, requests } = scripted([error])
      await expect(new Client(transport).call('GET /v0/peers')).rejects.toBe(error)
      expect(requests.length).toBe(1)
    }
  })

  it('waits for a daemon that was there a moment ago and is starting again', async () => {
    const down = new ManyhandsError('E_NOT_RUNNING', 'down')
    const { transport, requests } = scripted([json({ peers: [] }), down, json({ peers: [] })])
    const client = new Client(transport)
    await client.call('GET /v0/peers')
    expect(await client.call('GET /v0/peers')).toEqual({ peers: [] })
    expect(requests.length).toBe(3)
  })

  it('sends the same key each time', async () => {
    const problem = { type: 'x', title: 'x', status: 503, detail: 'stopping', code: 'E_STOPPING', retryAfterMs: 5 }
    const { transport, requests } = scripted([json(problem, 503, 'application/problem+json'), lost, json({})])
    const call = new Client(transport).call('POST /v0/tasks', { json: '{}', key: 'k' })
    await expect(call).rejects.toMatchObject({ code: 'E_PROTOCOL' })
    expect(requests.map((request) => request.headers['idempotency-key'])).toEqual(['k', 'k', 'k'])
  })

  it('keeps what may take minutes apart from what answers at once', async () => {
    const budgets: string[] = []
    const transport: Transport = {
      request: (request) => {
        budgets.push(request.budget)
        return Promise.reject(new ManyhandsError('E_CONFLICT', 'no'))
      },
      async close() {},
    }
    const client = new Client(transport)
    const body = { url: 'https://a.test/b.git' }
    await expect(client.call('POST /v0/artifacts/import', { body, timeoutMs: 900_000 })).rejects.toThrow('no')
    await expect(client.call('POST /v0/tasks', { json: '{}', key: 'k', waits: true })).rejects.toThrow('no')
    await expect(client.call('GET /v0/status')).rejects.toThrow('no')
    await expect(client.call('GET /v0/status', { timeoutMs: 1000 })).rejects.toThrow('no')
    expect(budgets).toEqual(['wait', 'wait', 'short', 'short'])
  })

  it('gives back the connection of an answer that announces too much', async () => {
    let over = false
    async function* body() {
      yield await new Promise<Uint8Array>(() => undefined)
    }
    const leave = (): void => {
      over = true
    }
    const headers: Record<string, string> = { 'content-type': 'application/json', 'content-length': '99999999999' }
    const { transport } = scripted([{ status: 200, header: (name) => headers[name], body: body(), leave }])
    await expect(new Client(transport).call('GET /v0/peers')).rejects.toMatchObject({ code: 'E_TOO_LARGE' })
    expect(over).toBe(true)
  })

  it('gives the problem as an error with all it says', async () => {
    const failure = { code: 'E_GUEST', message: 'no', file: 'a.js', line: 1 }
    const problem = {
      type: 'x',
      title: 'x',
      status: 422,
      detail: 'no',
      code: 'E_GUEST',
      hint: 'try',
      retryAfterMs: 7,
      details: { a: 1 },
      failure,
    }
    const { transport } = scripted([json(problem, 422, 'application/problem+json')])
    const error = { code: 'E_GUEST', message: 'no', hint: 'try', retryAfterMs: 7, details: { a: 1 }, failure }
    await expect(new Client(transport).call('GET /v0/status')).rejects.toMatchObject(error)
  })
})
