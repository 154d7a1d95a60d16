/**
 * Keeps the memory of bulk transfers small. Each byte of a stream passes through several buffers that nobody needs a turn later; they lie outside V8's heap, and V8
 * lets some 64 MiB of such garbage come together before it looks, which the allocator then hardly gives back to the system. So the young generation, where
 * they are, is collected after every few megabytes: a millisecond, as next to nothing in it is alive.
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** Of streams, all together; their buffers are about three times that. */
const EVERY_BYTES = 4 << 20

type Collect = (options: { readonly type: 'minor' }) => void

let collect: Collect | undefined
let passed = 0

/** So many bytes of a stream have passed. */
export function bytesPassed(bytes: number): void {
  passed += bytes
  if (passed < EVERY_BYTES) return
  passed = 0
  collect ??= collector()
  collect({ type: 'minor' })
}

/** V8's own function, which a context made while the flag is set has. Where there is none nothing is collected. */
function collector(): Collect {
  setFlagsFromString('--expose-gc')
  const found: unknown = runInNewContext('gc')
  setFlagsFromString('--no-expose-gc')
  return isCollect(found) ? found : () => undefined
}

const isCollect = (found: unknown): found is Collect => typeof found === 'function'
