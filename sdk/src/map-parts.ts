/** Cuts the inputs of a map into requests small enough for the daemon. */
import { ManyhandsError } from './errors.ts'
import { LIMITS } from './limits.ts'
import { toJson } from './program.ts'
import { TICK, withTicks } from './with-ticks.ts'

export interface MapPart {
  /** JSON text of the array of inputs */
  readonly inputs: string
  readonly count: number
}

export type Inputs = Iterable<unknown> | AsyncIterable<unknown>

export interface PartBounds {
  /** UTF-8 */
  readonly maxBytes?: number
  readonly maxInputs?: number
  /**
   * What has come of an asynchronous source is sent after `ms`, and after up to ten times that once there are many parts; until the signal aborts.
   * @default only full parts
   */
  readonly soon?: { readonly ms: number; readonly signal: AbortSignal }
}

/** So many parts later one may wait for `ms` more: who maps a stream without end is not to have a task for every few inputs. */
const PARTS_PER_STEP = 10
const MOST_STEPS = 10

/** Parts within the bounds; a single input may exceed none. Pulls no more inputs than a part needs. */
export async function* mapParts(
  inputs: Inputs,
  { maxBytes = LIMITS.mapBodyBytes, maxInputs = LIMITS.mapInputs, soon }: PartBounds = {},
): AsyncGenerator<MapPart> {
  let texts: string[] = []
  let bytes = 0
  let index = 0
  const encoder = new TextEncoder()
  let ticks = 0
  let parts = 0
  const take = (): MapPart => {
    ticks = 0
    parts++
    const part = { inputs: `[${texts.join(',')}]`, count: texts.length }
    texts = []
    bytes = 0
    return part
  }
  for await (const input of soon && isAsync(inputs) ? withTicks(inputs, soon.ms, soon.signal) : inputs) {
    if (input === TICK) {
      if (texts.length > 0 && ++ticks > Math.min(MOST_STEPS - 1, parts / PARTS_PER_STEP)) yield take()
      continue
    }
    const text = toJson(input, `input ${index++}`)
    // Three bytes for each unit at most: only large inputs are worth measuring
    const size = text.length < 1024 ? text.length * 3 : encoder.encode(text).byteLength
    if (size > maxBytes) {
      throw new ManyhandsError('E_TOO_LARGE', `Cannot send an input of ${size} bytes: ${maxBytes} fit`, {
        hint: 'Split it',
      })
    }
    if (texts.length > 0 && (bytes + size + 1 > maxBytes || texts.length >= maxInputs)) yield take()
    texts.push(text)
    bytes += size + 1
  }
  if (texts.length > 0) yield take()
}

/** A string is iterable too, and no object. */
function isAsync(inputs: Inputs): inputs is AsyncIterable<unknown> {
  return Symbol.asyncIterator in Object(inputs)
}
