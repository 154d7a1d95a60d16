/**
 * The answer to a push (gitprotocol-pack, "Report Status"), in bands when the client reads them: text for the user is only possible there.
 * Nothing is sent before there is something to say, so that until then the request can still fail as HTTP.
 */
import type { ServerResponse } from 'node:http'
import { FIXED } from './limits.ts'
import { band, FLUSH, packet } from '../../../protocol/artifact/pkt-line.ts'

const RESULT = 'application/x-git-receive-pack-result'
/** An empty packet of band 1: means nothing, keeps the connection */
const ALIVE = Buffer.from('0005\x01', 'latin1')

export class PushAnswer {
  readonly #response: ServerResponse
  readonly #inBands: boolean
  readonly #reports: boolean
  readonly #timer: NodeJS.Timeout | undefined

  constructor(response: ServerResponse, capabilities: ReadonlySet<string>) {
    this.#response = response
    this.#inBands = capabilities.has('side-band-64k')
    this.#reports = capabilities.has('report-status') || capabilities.has('report-status-v2')
    if (this.#inBands) this.#timer = setInterval(() => this.#send(ALIVE), FIXED.keepAliveMs)
  }

  /** A line for the user, shown after "remote: ". */
  say(text: string): void {
    if (this.#inBands) this.#send(band(2, `${text}\n`))
  }

  /** @param unpack "ok" or why not. @param results reason by ref in order of the commands; undefined: done */
  finish(unpack: string, results: ReadonlyMap<string, string | undefined>): void {
    clearInterval(this.#timer)
    const lines = [`unpack ${oneLine(unpack)}\n`]
    for (const [ref, fault] of results)
      lines.push(fault === undefined ? `ok ${ref}\n` : `ng ${ref} ${oneLine(fault)}\n`)
    const report = Buffer.concat([...lines.map(packet), FLUSH])
    if (this.#reports) this.#send(this.#inBands ? band(1, report) : report)
    this.#response.end(this.#inBands ? FLUSH : undefined)
  }

  /** Ends the keep-alive; the rest is someone else's. */
  stop(): void {
    clearInterval(this.#timer)
  }

  #send(bytes: Buffer): void {
    if (!this.#response.headersSent) this.#response.setHeader('content-type', RESULT)
    this.#response.write(bytes)
  }
}

function oneLine(text: string): string {
  return text.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, 500)
}
