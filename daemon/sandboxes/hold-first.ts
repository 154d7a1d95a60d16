/** Holds what an asker sends until it is known whether that is little: little goes another way than much. */
import type { OpLink, OpSink } from './op-link.ts'

export interface HeldFirst {
  /** All of it came, and is not more than was to be held */
  readonly whole: boolean
  /** Gives what was held, then what follows */
  readonly link: OpLink
}

/**
 * Holds at most `most` bytes. The piece that is too much, and what the asker sends besides without waiting for it, is not copied: it waits, and the asker with
 * it, until somebody receives. @throws the signal's reason
 */
export function holdFirst(link: OpLink, most: number): Promise<HeldFirst> {
  const decided = Promise.withResolvers<boolean>()
  const received = Promise.withResolvers<OpSink>()
  received.promise.catch(() => undefined)
  /** Settles when all that waits was handed over, in its order */
  let handed: Promise<unknown> = received.promise
  let waiting = 0
  let bytes = 0
  let sink: OpSink | undefined
  const hand = (give: (to: OpSink) => void | Promise<void>): Promise<void> => {
    waiting++
    const done = handed.then(async () => give(await received.promise)).finally(() => waiting--)
    done.catch(() => undefined)
    handed = done
    return done
  }
  const onAbort = (): void => {
    decided.reject(link.signal.reason)
    received.reject(link.signal.reason)
  }
  link.signal.addEventListener('abort', onAbort, { once: true })
  link.receive({
    data(piece) {
      if (sink && waiting === 0) return sink.data(piece)
      bytes += piece.length
      if (bytes > most) {
        decided.resolve(false)
        return hand((to) => to.data(piece))
      }
      const kept = new Uint8Array(piece)
      // What cannot be delivered ends the operation, which its answer tells
      void hand((to) => to.data(kept))
      return undefined
    },
    finish() {
      if (sink && waiting === 0) return sink.finish()
      decided.resolve(bytes <= most)
      void hand((to) => to.finish())
    },
    control: (control) => sink?.control(control),
  })
  const rest: OpLink = {
    send: (lane, piece) => link.send(lane, piece),
    finish: () => link.finish(),
    receive(given) {
      sink = given
      received.resolve(given)
    },
    signal: link.signal,
  }
  return decided.promise.then((whole) => ({ whole, link: rest }))
}
