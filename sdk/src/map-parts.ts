/** Cuts the inputs of a map into requests small enough for the daemon. */
import { ManyhandsError } from './errors.ts'
import { LIMITS } from './limits.ts'
import { toJson } from './program.ts'

export interface MapPart {
  /** JSON text of the array of inputs */
  readonly inputs: string
  readonly count: number
}

export type Inputs = Iterable<unknown> | AsyncIterable<unknown>

/** At most `maxBytes` (UTF-8) and `maxInputs` each; a single input may exceed no limit. Pulls no more inputs than a part needs. */
export async function* mapParts(
  inputs: Inputs,
  maxBytes: number = LIMITS.mapBodyBytes,
  maxInputs: number = LIMITS.mapInputs,
): AsyncGenerator<MapPart> {
  let texts: string[] = []
  let bytes = 0
  let index = 0
  const encoder = new TextEncoder()
  for await (const input of inputs) {
    const text = toJson(input, `input ${index++}`)
    // Three bytes for each unit at most: only large inputs are worth measuring
    const size = text.length < 1024 ? text.length * 3 : encoder.encode(text).byteLength
    if (size > maxBytes) {
      throw new ManyhandsError('E_TOO_LARGE', `Cannot send an input of ${size} bytes: ${maxBytes} fit`, {
        hint: 'Split it',
      })
    }
    if (texts.length > 0 && (bytes + size + 1 > maxBytes || texts.length >= maxInputs)) {
      yield { inputs: `[${texts.join(',')}]`, count: texts.length }
      texts = []
      bytes = 0
    }
    texts.push(text)
    bytes += size + 1
  }
  if (texts.length > 0) yield { inputs: `[${texts.join(',')}]`, count: texts.length }
}
