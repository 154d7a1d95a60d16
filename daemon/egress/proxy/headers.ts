/** Headers as pairs, without those that are between two neighbours only (RFC 9110 section 7.6.1). */
import type { IncomingMessage } from 'node:http'
import type { HeaderLine } from '../../../protocol/egress/credential.ts'

/** Those, and the one the proxy itself answers with. */
const HOP_BY_HOP = new Set([
  'x-manyhands-egress',
  'connection',
  'expect',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authentication-info',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

/** What may go on to the other side. */
export function headerLines(message: IncomingMessage): HeaderLine[] {
  const raw = message.rawHeaders
  const lines = Array.from(
    { length: raw.length / 2 },
    (_, index) => [raw[index * 2] ?? '', raw[index * 2 + 1] ?? ''] as const,
  )
  const named = new Set(
    lines
      .filter(([name]) => name.toLowerCase() === 'connection')
      .flatMap(([, value]) => value.toLowerCase().split(/[\s,]+/)),
  )
  return lines.filter(
    ([name]) =>
      !HOP_BY_HOP.has(name.toLowerCase()) &&
      !(named.has(name.toLowerCase()) && name.toLowerCase() !== 'content-length'),
  )
}

export function messageHeaders(start: string, lines: readonly HeaderLine[]): string {
  return `${[start, ...lines.map(([name, value]) => `${name}: ${value}`)].join('\r\n')}\r\n\r\n`
}
