import type { Pieces } from './byte-queue.ts'
import type { OutputChunk } from './guest-connection.ts'

/** What is written to one descriptor stays in order; between the two there is none but that of reading. */
export const OUTPUT_PIECES: Pieces<OutputChunk> = {
  bytes: ({ bytes }) => bytes,
  again: ({ fd }, bytes) => ({ fd, bytes }),
  lane: ({ fd }) => fd,
}
