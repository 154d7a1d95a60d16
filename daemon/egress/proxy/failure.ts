/** Why the door does not let something through, as the guest and the audit see it. */
import { STATUS_CODES } from 'node:http'

export class Refused extends Error {
  override readonly name = 'Refused'
  readonly status: number
  /** Stable word of the audit */
  readonly reason: string
  readonly decision: 'deny' | 'failed'
  readonly address: string | undefined

  /** @param sentence for people; seen by the guest */
  constructor(status: number, reason: string, sentence: string, address?: string) {
    super(sentence)
    this.status = status
    this.reason = reason
    this.decision = status >= 500 ? 'failed' : 'deny'
    this.address = address
  }
}

/** What goes wrong beyond the proxy is told without its inner detail. */
export function asRefused(error: unknown): Refused {
  if (error instanceof Refused) return error
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'error'
  if (/^(?:CERT|ERR_TLS_CERT|DEPTH|SELF_SIGNED|UNABLE_TO)/.test(code))
    return new Refused(502, 'bad-certificate', `the certificate of the host is not trusted (${code})`)
  return new Refused(502, 'unreachable', `the host cannot be reached (${code})`)
}

export function refusalBody({ message, reason }: Refused): string {
  return `manyhands: the door to the outside does not let this through: ${message} [${reason}]\n`
}

/** A whole response for a socket on which no server answers. */
export function refusalText(refused: Refused): string {
  const body = refusalBody(refused)
  return [
    `HTTP/1.1 ${refused.status} ${STATUS_CODES[refused.status] ?? 'Refused'}`,
    'content-type: text/plain; charset=utf-8',
    `content-length: ${Buffer.byteLength(body)}`,
    `x-manyhands-egress: ${refused.reason}`,
    'connection: close',
    '',
    body,
  ].join('\r\n')
}
