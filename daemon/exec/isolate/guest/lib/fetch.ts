/** The Fetch interfaces, and `fetch`: through the door to the outside where the program has one, else it refuses. */
import type { DoorReply, Realm } from '../realm.ts'
import { FormData } from './form-data.ts'
import { Headers } from './headers.ts'
import { Request, type RequestInit } from './request.ts'
import { Response } from './response.ts'

/** Characters made at once from bytes: an argument list has its limit. */
const PIECE = 8192
const EMPTY = [101, 204, 205, 304]

export default ({ brand, door }: Realm) => ({
  FormData,
  Headers,
  Request,
  Response,
  fetch: async function fetch(input: unknown, init?: RequestInit | null): Promise<Response> {
    const request = new Request(input, init)
    request.signal.throwIfAborted()
    const ask = door()
    if (ask === undefined) {
      const error = brand(
        new TypeError(`fetch ${new URL(request.url).origin}: the network is closed to this program`),
        'E_NETWORK_CLOSED',
      )
      throw Object.assign(error, {
        hint: 'Fetch on the calling side and pass the data as input, or offer a host function and call it as env.<name>()',
      })
    }
    const { method, url, redirect } = request
    const bytes = await request.bytes()
    const reply = ask({
      method,
      url,
      redirect: `${redirect}`,
      headers: [...request.headers] as [string, string][],
      ...(bytes.length === 0 ? {} : { body: toBase64(bytes) }),
    })
    return responseFrom(await untilAborted(reply, request.signal))
  },
})

function responseFrom(reply: DoorReply): Response {
  const { status, statusText, headers, url, redirected, body } = reply
  const response = new Response(EMPTY.includes(status) ? null : fromBase64(body), { status, statusText, headers })
  Object.defineProperties(response, { url: { value: url }, redirected: { value: redirected } })
  return response
}

/** The call goes on when its caller no longer waits; its answer is dropped. */
function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason)
    signal.addEventListener('abort', onAbort)
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}

function toBase64(bytes: Uint8Array): string {
  let text = ''
  for (let at = 0; at < bytes.length; at += PIECE) text += String.fromCharCode(...bytes.subarray(at, at + PIECE))
  return btoa(text)
}

const fromBase64 = (text: string): Uint8Array => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))
