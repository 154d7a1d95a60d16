/** Holds what an asker sends until it is known whether that is little: little goes another way than much. */
import type { OpLink, OpSink } from './op-link.ts'

export interface HeldFirst {
  /** All of it came, and is not more than was to be held */
  readonly whole: boolean
  /** Gives what was held, then what follows */
  readonly link: OpLink
}

/** Holds at most `most` bytes and the piece after them. @throws the signal's reason */
export function holdFirst(link: OpLink, most: number): Promise<HeldFirst> {
  const decided = Promise.withResolvers<boolean>()
  const held: Uint8Array[] = []
  let bytes = 0
  let over = false
  let sink: OpSink | undefined
  const onAbort = (): void => decided.reject(link.signal.reason)
  link.signal.addEventListener('abort', onAbort, { once: true })
  link.receive({
    data(piece) {
      if (sink) return sink.data(piece)
      held.push(new Uint8Array(piece))
      bytes += piece.length
      if (bytes > most) decided.resolve(false)
      return undefined
    },
    finish() {
      over = true
      sink?.finish()
      decided.resolve(bytes <= most)
    },
    control: (control) => sink?.control(control),
  })
  const rest: OpLink = {
    send: (lane, piece) => link.send(lane, piece),
    finish: () => link.finish(),
    receive(given) {
      sink = given
      // What cannot be delivered ends the operation, which its answer tells
      for (const piece of held.splice(0)) void Promise.resolve(given.data(piece)).catch(() => undefined)
      if (over) given.finish()
    },
    signal: link.signal,
  }
  return decided.promise
    .then((whole) => ({ whole, link: rest }))
    .finally(() => link.signal.removeEventListener('abort', onAbort))
}
