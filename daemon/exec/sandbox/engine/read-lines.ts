/** JSON values, one a line, from a stream of the engine: events, progress. */
import { MeshError } from '../../../../protocol/errors.ts'

/** Longest line taken, bytes. */
const LINE_BYTES = 1 << 20

/** @throws MeshError E_ENGINE for a line that is too long or no JSON */
export async function* readLines(stream: AsyncIterable<Uint8Array | string>): AsyncGenerator<unknown, void> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const part of stream) {
    rest += typeof part === 'string' ? part : decoder.decode(part, { stream: true })
    const lines = rest.split('\n')
    rest = lines.pop() ?? ''
    if (rest.length > LINE_BYTES) throw new MeshError('E_ENGINE', 'Cannot follow the engine: it sent an endless line')
    for (const line of lines) if (line.trim() !== '') yield parse(line)
  }
  if (rest.trim() !== '') yield parse(rest)
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch (error) {
    throw new MeshError('E_ENGINE', 'Cannot follow the engine: it sent a line that is no JSON', { cause: error })
  }
}
