/**
 * Keeps bulk transfers cheap in memory and in time. Each byte of a stream passes through several buffers that nobody needs a turn later; they lie outside V8's heap,
 * and V8 lets some 64 MiB of such garbage come together before it looks, which the allocator then hardly gives back to the system. So the young generation, where
 * they are, is collected after every few megabytes: a millisecond, as next to nothing in it is alive.
 *
 * What waits for a slow reader outlives that and counts as growth of the old generation, of which V8 allows a small heap some percent: it would mark the whole heap
 * after every 4 MiB, which costs more than moving the bytes does. So the heap has more room while bytes flow, and is made small again once they do not.
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** Of streams, all together; their buffers are about three times that. */
const EVERY_BYTES = 4 << 20
/** No more bytes than `EVERY_BYTES` in so long: the flow is over. Milliseconds */
const QUIET_MS = 1_000
/** How much the old generation may grow by before all of it is marked, percent of what is alive. */
const ROOM = '--heap-growing-percent=100'
/** As V8 thinks best. */
const USUAL = '--heap-growing-percent=0'

type Collect = (options: { readonly type: 'minor' | 'major'; readonly execution?: 'async' }) => unknown

let collect: Collect | undefined
let passed = 0
let quiet: NodeJS.Timeout | undefined

/** So many bytes of a stream have passed. */
export function bytesPassed(bytes: number): void {
  passed += bytes
  if (passed < EVERY_BYTES) return
  passed = 0
  collect ??= collector()
  if (quiet === undefined) makeRoom()
  else quiet.refresh()
  collect({ type: 'minor' })
}

function makeRoom(): void {
  setFlagsFromString(ROOM)
  quiet = setTimeout(() => {
    quiet = undefined
    setFlagsFromString(USUAL)
    // A limit stands until the whole heap is collected
    collect?.({ type: 'major', execution: 'async' })
  }, QUIET_MS).unref()
}

/** V8's own function, which a context made while the flag is set has. Where there is none nothing is collected. */
function collector(): Collect {
  setFlagsFromString('--expose-gc')
  const found: unknown = runInNewContext('gc')
  setFlagsFromString('--no-expose-gc')
  return isCollect(found) ? found : () => undefined
}

const isCollect = (found: unknown): found is Collect => typeof found === 'function'
