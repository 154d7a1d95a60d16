/**
 * Whether a session's calls may enter its isolate on the host's own thread. Entering on another thread costs two switches, many times what a small call
 * takes; but a call that runs long on this thread holds up everything else in the process. So a session must have shown that its calls are short,
 * and loses that standing with the first that is not. What bounds a call that turns out endless is the same as ever: the daemon ends the process.
 */

/** Entries in a row that must have been short */
const PROBATION = 16
/** After an entry on this thread that was not: so many more are asked for. */
const SECOND_PROBATION = 1_024
/** An entry up to this long is short, milliseconds of the guest's CPU */
const SHORT_MS = 2

export class QuickCalls {
  #wanted = PROBATION

  get allowed(): boolean {
    return this.#wanted <= 0
  }

  /** An entry on another thread took the guest `ms` of CPU. */
  elsewhere(ms: number): void {
    this.#wanted = ms <= SHORT_MS ? this.#wanted - 1 : Math.max(PROBATION, this.#wanted)
  }

  /** An entry on this thread took the guest `ms` of CPU. */
  here(ms: number): void {
    if (ms > SHORT_MS) this.#wanted = SECOND_PROBATION
  }
}
