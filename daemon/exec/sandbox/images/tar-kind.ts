/** Tells the two kinds of tars apart that become images: a root file system, or what `docker save` wrote. */

const HEAD_BYTES = 64 << 10

/** Reads the beginning of a stream and gives it whole again. */
export async function peek(
  stream: AsyncIterable<Uint8Array>,
): Promise<{ head: Uint8Array; all: AsyncIterable<Uint8Array> }> {
  const iterator = stream[Symbol.asyncIterator]()
  const parts: Uint8Array[] = []
  let length = 0
  let done = false
  while (length < HEAD_BYTES && !done) {
    const next = await iterator.next()
    if (next.done === true) done = true
    else {
      parts.push(next.value)
      length += next.value.length
    }
  }
  return { head: Buffer.concat(parts), all: again(parts, iterator) }
}

async function* again(parts: readonly Uint8Array[], rest: AsyncIterator<Uint8Array>): AsyncGenerator<Uint8Array, void> {
  try {
    yield* parts
    for (let next = await rest.next(); next.done !== true; next = await rest.next()) yield next.value
  } finally {
    await rest.return?.()
  }
}

/**
 * By the name of the first entry: a saved image begins with its layers' folders (64 hexadecimal digits), `blobs/`, or its manifest; a root file
 * system with `.` or a folder of the root. What is taken for the wrong kind is refused by the engine.
 */
export function isSavedImage(head: Uint8Array): boolean {
  const end = head.indexOf(0)
  const name = Buffer.from(head.subarray(0, end < 0 || end > 100 ? 100 : end)).toString('latin1')
  return /^(?:\.\/)?(?:[0-9a-f]{64}[/.]|blobs\/|manifest\.json|index\.json|oci-layout|repositories)/.test(name)
}
