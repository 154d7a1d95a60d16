/** Requests answered by a program of the operator's in an isolate, which the daemon runs. It sees the whole request and gives the whole response. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { EGRESS_LIMITS } from '../../../protocol/egress/limits.ts'
import type { DoorView, RequestTarget } from './door-view.ts'
import { Refused } from './failure.ts'
import { headerLines } from './headers.ts'

const NOT_THEIRS = new Set([
  'content-length',
  'transfer-encoding',
  'connection',
  'keep-alive',
  'upgrade',
  'trailer',
  'te',
])

/** @throws Refused */
export async function callHandler(
  door: DoorView,
  program: string,
  target: RequestTarget,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const body = await wholeBody(request)
  const { scheme, host, port, method, path } = target
  const answer = await door.context.handle({
    program,
    door: door.id,
    method,
    url: `${scheme}://${host}:${port}${path}`,
    headers: headerLines(request).map(([name, value]): [string, string] => [name, value]),
    body: body.toString('base64'),
  })
  if (answer === undefined) throw new Refused(502, 'handler', `the handler ${program} did not answer`)
  const bytes = Buffer.from(answer.body, 'base64')
  const headers = answer.headers.filter(
    ([name, value]) =>
      /^[\w!#$%&'*+.^`|~-]+$/.test(name) && !NOT_THEIRS.has(name.toLowerCase()) && !/[\r\n\0]/.test(value),
  )
  response.writeHead(answer.status, [...headers, ['content-length', String(bytes.length)]].flat())
  response.end(bytes)
}

async function wholeBody(request: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of request) {
    if (!(part instanceof Buffer)) continue
    bytes += part.length
    if (bytes > EGRESS_LIMITS.handlerBodyBytes)
      throw new Refused(413, 'too-large', `a handler takes ${EGRESS_LIMITS.handlerBodyBytes} bytes at most`)
    parts.push(part)
  }
  return Buffer.concat(parts)
}
