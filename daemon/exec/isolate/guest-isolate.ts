import ivm from 'isolated-vm'
import { bootGuest } from './guest/boot.ts'
import type { GuestPort } from './guest/host-ops.ts'
import type { GuestConfig } from './guest/realm.ts'
import { type StartModules, startModules } from './start-module.ts'

/** isolated-vm refuses less */
const LEAST_MEMORY_MIB = 8
const MIB = 1 << 20
const NOTHING = JSON.stringify({
  hostFunctions: [],
  outputBytes: 64,
  logLineBytes: 64,
  hostCallBytes: 64,
} satisfies GuestConfig)

/** Who owns an isolate that runs something. Before that nobody listens. */
export interface GuestOwner extends GuestPort {
  /** The isolate hit a state that only the end of the process resolves. */
  lost(reason: string): void
}

/**
 * One V8 isolate with one context, prelude evaluated, never used. It is made before anyone needs it, so its owner comes later.
 * Its memory limit is V8's and a hint only: buffers outside the heap are watched from outside the process.
 */
export class GuestIsolate {
  readonly isolate: ivm.Isolate
  readonly context: ivm.Context
  readonly enter: ReturnType<typeof bootGuest>
  readonly start: StartModules
  readonly memoryBytes: number
  #owner: GuestOwner | undefined

  constructor(memoryBytes: number) {
    this.memoryBytes = memoryBytes
    this.isolate = new ivm.Isolate({
      memoryLimit: Math.max(LEAST_MEMORY_MIB, Math.ceil(memoryBytes / MIB)),
      onCatastrophicError: (message) => this.#owner?.lost(message),
    })
    this.context = this.isolate.createContextSync()
    this.enter = bootGuest(
      this.context,
      {
        log: (level, text) => this.#owner?.log(level, text),
        call: (id, name, argsJson) => this.#owner?.call(id, name, argsJson),
        results: (replies) => this.#owner?.results(replies),
        wake: (inMs) => this.#owner?.wake(inMs),
        abuse: (what) => this.#owner?.abuse(what),
      },
      this.isolate,
    )
    this.start = startModules(this.isolate, this.context, this.enter)
  }

  /**
   * Goes once through what every program will go through, with a program that does nothing: V8 compiles a function when it is first called. For idle time:
   * it takes a third of a millisecond, and saves the first program nearly as much.
   */
  rehearse(): void {
    this.enter.applySync(undefined, [0, 'begin', NOTHING])
    this.enter.applySync(undefined, [0, 'calls', 0, 'null'])
  }

  own(owner: GuestOwner): void {
    this.#owner = owner
  }

  /** Ends whatever runs in it. Safe while it runs and when called twice. */
  dispose(): void {
    this.#owner = undefined
    if (!this.isolate.isDisposed) this.isolate.dispose()
  }

  /** CPU milliseconds spent inside. */
  cpuMs(): number {
    return this.isolate.isDisposed ? 0 : Number(this.isolate.cpuTime) / 1e6
  }
}
