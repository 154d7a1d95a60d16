/** Requests by `fetch`, for browsers: loopback only by nature of the daemon, and without sessions and host functions, which need a raw connection. */
import { Budget } from './budget.ts'
import { ManyhandsError } from './errors.ts'
import { LIMITS } from './limits.ts'
import { newChallenge } from './proof.ts'
import { readBody } from './read-body.ts'
import type { Transport, WireAnswer, WireRequest } from './transport.ts'
import { unlessAborted } from './wait.ts'

/** `fetch` hides its connections, so the proof is asked for again after each failure and not for each connection. */
export function fetchTransport(base: URL, token: string): Transport {
  const budgets = {
    short: new Budget(LIMITS.shortRequests, LIMITS.queuedRequests),
    wait: new Budget(LIMITS.waitingRequests, LIMITS.queuedRequests),
    stream: new Budget(LIMITS.streams, 0),
  }
  const closing = new AbortController()
  let proof: Promise<void> | undefined

  const prove = async (): Promise<void> => {
    const { path, requireProof } = await newChallenge(token)
    const signal = AbortSignal.any([closing.signal, AbortSignal.timeout(LIMITS.connectMs)])
    const answer = await exchange(base, { method: 'GET', path, headers: {}, signal })
    await requireProof(answer.status, await readBody(answer, LIMITS.challengeBytes))
  }

  return {
    async request(request) {
      const release = await budgets[request.budget].take(request.signal)
      try {
        await unlessAborted((proof ??= prove()), request.signal)
        const headers = { ...request.headers, authorization: `Bearer ${token}` }
        const signal = AbortSignal.any([request.signal, closing.signal])
        const answer = await exchange(base, { ...request, headers, signal })
        const leave = (): void => {
          answer.leave()
          release()
        }
        return { ...answer, body: releasing(answer.body, release), leave }
      } catch (error) {
        proof = undefined
        release()
        throw error
      }
    },
    async close() {
      closing.abort()
    },
  }
}

async function exchange(
  base: URL,
  request: Pick<WireRequest, 'method' | 'path' | 'headers' | 'body' | 'signal'>,
): Promise<WireAnswer> {
  const { method, headers, signal, body } = request
  let response: Response
  try {
    const init = { method, headers, signal, redirect: 'manual', credentials: 'omit', cache: 'no-store' } as const
    response = await fetch(new URL(request.path, base), body === undefined ? init : { ...init, body })
  } catch (error) {
    throw failed(error, signal)
  }
  return {
    // An opaque redirect has status 0; it is refused like any other redirect
    status: response.type === 'opaqueredirect' ? 302 : response.status,
    header: (name) => response.headers.get(name) ?? undefined,
    body: pull(response, signal),
    // One that is being read already ends with its reader
    leave: () => void response.body?.cancel().catch(() => undefined),
  }
}

/** `fetch` tells every loss as a TypeError of its own words. */
function failed(error: unknown, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason
  return new ManyhandsError('E_UNREACHABLE', 'Cannot reach the daemon: the connection failed', {
    hint: 'Check that it runs: manyhands status',
    cause: error,
  })
}

async function* pull(response: Response, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const reader = response.body?.getReader()
  if (!reader) return
  try {
    for (;;) {
      const read: { readonly done: boolean; readonly value?: Uint8Array | undefined } = await reader
        .read()
        .catch((error: unknown) => {
          throw failed(error, signal)
        })
      if (read.done || read.value === undefined) return
      yield read.value
    }
  } finally {
    await reader.cancel().catch(() => undefined)
  }
}

async function* releasing(body: AsyncIterable<Uint8Array>, release: () => void): AsyncGenerator<Uint8Array> {
  try {
    yield* body
  } finally {
    release()
  }
}
