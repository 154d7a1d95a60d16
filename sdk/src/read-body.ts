/** Reads a whole answer as text, up to a bound. */
import { ManyhandsError, protocolError } from './errors.ts'
import type { WireAnswer } from './transport.ts'

/** @throws ManyhandsError E_TOO_LARGE, or E_PROTOCOL when it is not UTF-8 */
export async function readBody(answer: WireAnswer, maxBytes: number): Promise<string> {
  if (Number(answer.header('content-length') ?? 0) > maxBytes) {
    answer.leave()
    throw tooLong(maxBytes)
  }
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of answer.body) {
    size += chunk.byteLength
    if (size > maxBytes) throw tooLong(maxBytes)
    chunks.push(chunk)
  }
  const decoder = new TextDecoder('utf-8', { fatal: true })
  try {
    let text = ''
    for (const chunk of chunks) text += decoder.decode(chunk, { stream: true })
    return text + decoder.decode()
  } catch (error) {
    throw protocolError('Cannot read the answer: it is not UTF-8', error)
  }
}

function tooLong(maxBytes: number): ManyhandsError {
  return new ManyhandsError('E_TOO_LARGE', `Cannot read the answer: it is longer than ${maxBytes} bytes`, {
    hint: 'Ask for less at once',
  })
}
