/** How V8 is to keep the heap of a daemon; set before its modules load. */
import { setFlagsFromString } from 'node:v8'

/**
 * Keeps V8's nursery as small as it begins, 2 MiB. It would grow to 32 while modules load and never shrink in a process that is idle; and what a daemon
 * allocates lives for one message, so that a nursery which fits the processor's cache is no slower. For bytes on the way it is faster: buffers are freed with
 * the nursery, and when that happens seldom, V8 marks the whole heap for every 64 MB of them instead.
 */
const SMALL_NURSERY = '--semi-space-growth-factor=1'
/** Waking helper threads to collect a nursery of that size takes longer than collecting it; a start does that some twenty times. */
const ALONE = '--no-parallel-scavenge'

export function keepHeapSmall(): void {
  setFlagsFromString(SMALL_NURSERY)
  setFlagsFromString(ALONE)
}
