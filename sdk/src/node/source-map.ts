/** Reads source maps, revision 3 (https://tc39.es/ecma426/), as far as looking up a position needs it. */
import { isObject } from '../shape.ts'

export interface Original {
  readonly file: string
  /** 1-based */
  readonly line: number
  /** 1-based */
  readonly column: number
  /** Undefined when the map does not hold it */
  readonly content: string | undefined
}

export interface SourceMap {
  /** Where 1-based `line` and `column` of the generated text came from. */
  find(line: number, column: number): Original | undefined
}

/** [generated column, source, line, column], 0-based */
type Segment = readonly [number, number, number, number]

/** A map that cannot be read finds nothing. */
export function readSourceMap(json: string): SourceMap {
  const map = parse(json)
  if (!map) return { find: () => undefined }
  let lines: Segment[][] | undefined
  return {
    find(line, column) {
      // Only a failure needs it
      lines ??= decodeMappings(map.mappings)
      const segment = lines[line - 1]?.findLast(([generated]) => generated <= column - 1)
      const file = segment && map.sources[segment[1]]
      if (!segment || file === undefined) return undefined
      return { file, line: segment[2] + 1, column: segment[3] + 1, content: map.contents[segment[1]] }
    },
  }
}

interface RawMap {
  readonly mappings: string
  readonly sources: readonly string[]
  readonly contents: readonly (string | undefined)[]
}

function parse(json: string): RawMap | undefined {
  let map: unknown
  try {
    map = JSON.parse(json)
  } catch {
    return undefined
  }
  if (!isObject(map) || typeof map['mappings'] !== 'string' || !Array.isArray(map['sources'])) return undefined
  const contents = Array.isArray(map['sourcesContent']) ? map['sourcesContent'] : []
  return {
    mappings: map['mappings'],
    sources: map['sources'].map(String),
    contents: contents.map((content: unknown) => (typeof content === 'string' ? content : undefined)),
  }
}

const DIGITS = new Map(
  [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'].map((char, value) => [char, value]),
)

/** Lines are parted by ";", segments by ","; each number is the difference to the one before it, the column starting anew in each line. */
function decodeMappings(mappings: string): Segment[][] {
  let source = 0
  let line = 0
  let column = 0
  return mappings.split(';').map((text) => {
    let generated = 0
    const segments: Segment[] = []
    for (const part of text.split(',')) {
      const fields = decodeVlq(part)
      generated += fields[0] ?? 0
      if (fields.length < 4) continue
      source += fields[1] ?? 0
      line += fields[2] ?? 0
      column += fields[3] ?? 0
      segments.push([generated, source, line, column])
    }
    return segments
  })
}

/** Base 64 digits of 5 bits, lowest first, the sixth bit saying that more follow; the lowest bit of the number is its sign. */
function decodeVlq(text: string): number[] {
  const numbers: number[] = []
  let value = 0
  let shift = 0
  for (const char of text) {
    const digit = DIGITS.get(char) ?? 0
    value |= (digit & 31) << shift
    shift += 5
    if (digit & 32) continue
    numbers.push(value & 1 ? -(value >>> 1) : value >>> 1)
    value = 0
    shift = 0
  }
  return numbers
}
