/** What a response goes through on its way back: nothing, or decompression and scrubbing where it could show a credential. */
import type { IncomingMessage } from 'node:http'
import { Transform } from 'node:stream'
import { createBrotliDecompress, createGunzip, createInflate, createZstdDecompress } from 'node:zlib'
import type { HeaderLine } from '../../../protocol/egress/credential.ts'
import { Scrubber } from '../../../protocol/egress/scrub.ts'
import { Refused } from './failure.ts'
import { headerLines } from './headers.ts'

export interface ResponseStages {
  readonly headers: readonly HeaderLine[]
  readonly stages: readonly Transform[]
  /** For what else of its head goes on */
  text(value: string): string
}

/** @throws Refused when the response is encoded in a way it cannot be read */
export function responseStages(answer: IncomingMessage, sensitive: readonly string[]): ResponseStages {
  const lines = headerLines(answer)
  if (sensitive.length === 0) return { headers: lines, stages: [], text: (value) => value }
  const scrubber = new Scrubber(sensitive)
  const decoder = decoderFor(answer.headers['content-encoding'])
  const dropped = decoder === undefined ? [] : ['content-encoding', 'content-length']
  const headers = lines
    .filter(([name]) => !dropped.includes(name.toLowerCase()))
    .map(([name, value]) => [scrubber.text(name), scrubber.text(value)] as const)
  return {
    headers,
    stages: [...(decoder === undefined ? [] : [decoder]), scrubbing(scrubber)],
    text: (value) => scrubber.text(value),
  }
}

function decoderFor(encoding: string | undefined): Transform | undefined {
  switch (encoding?.trim().toLowerCase()) {
    case undefined:
    case '':
    case 'identity':
      return undefined
    case 'gzip':
    case 'x-gzip':
      return createGunzip()
    case 'deflate':
      return createInflate()
    case 'br':
      return createBrotliDecompress()
    case 'zstd':
      return createZstdDecompress()
    default:
      throw new Refused(502, 'encoding', 'the response is encoded in a way in which it could hide a credential')
  }
}

function scrubbing(scrubber: Scrubber): Transform {
  return new Transform({
    transform: (chunk: Buffer, _encoding, done) => done(null, scrubber.push(chunk)),
    flush: (done) => done(null, scrubber.end()),
  })
}
