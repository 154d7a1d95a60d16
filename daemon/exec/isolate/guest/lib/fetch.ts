/** The Fetch interfaces, and a `fetch` that refuses: programs have no network. */
import type { Realm } from '../realm.ts'
import { FormData } from './form-data.ts'
import { Headers } from './headers.ts'
import { Request, type RequestInit } from './request.ts'
import { Response } from './response.ts'

export default ({ brand }: Realm) => ({
  FormData,
  Headers,
  Request,
  Response,
  fetch: async function fetch(input: unknown, init?: RequestInit): Promise<Response> {
    const request = new Request(input, init)
    request.signal.throwIfAborted()
    const error = brand(
      new TypeError(`fetch ${new URL(request.url).origin}: the network is closed to this program`),
      'E_NETWORK_CLOSED',
    )
    throw Object.assign(error, {
      hint: 'Fetch on the calling side and pass the data as input, or offer a host function and call it as env.<name>()',
    })
  },
})
