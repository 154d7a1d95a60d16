import type { Stream } from '@libp2p/interface'
import { INITIAL_WINDOW_BYTES } from './muxer.ts'

/** Between two looks at what is on the way, milliseconds: the library tells of credit only those whom it holds back itself. */
export const FIRST_LOOK_MS = 1
export const LAST_LOOK_MS = 50

/** What was sent on a stream and has not arrived, as far as the peer's credit tells. */
export class OnTheWay {
  readonly #stream: Stream
  #window = INITIAL_WINDOW_BYTES

  constructor(stream: Stream) {
    this.#stream = stream
  }

  get bytes(): number {
    const capacity = 'sendWindowCapacity' in this.#stream ? this.#stream.sendWindowCapacity : undefined
    if (typeof capacity !== 'number') return 0
    // Capacity and what is on the way make up the window, so that it must have grown if capacity alone is more
    while (this.#window < capacity) this.#window *= 2
    return this.#window - capacity + this.#stream.writeBufferLength
  }
}
